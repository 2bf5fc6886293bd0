"""ONNX Runtime against PyTorch on the CPU, on the paper's network of 26.12 M parameters at 256 x 256, batch 2.

Each candidate lives in a process of its own; they take turns, and ratios are medians over rounds. Beside them run the
same 3 x 3 convolution in both libraries, and a large matrix product, in the same rounds. Then ONNX Runtime's profiler
tells where its time goes.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import parser, write
from ort_profile import profile
from paper_bundle import NETWORKS, save_checkpoint

from mrct_cli.bench_table import print_tables
from mrct_export.count_work import count_work
from mrct_export.export import export
from mrct_export.onnx_convolution import candidate as onnx_convolution
from mrct_runtime.bench.candidates import engines, peaks
from mrct_runtime.bench.document import Setting
from mrct_runtime.bench.outcome import Plan
from mrct_runtime.bench.run import conditions, run
from mrct_runtime.bench.slice_contest import SlicePlan
from mrct_runtime.bundle import Bundle
from mrct_runtime.engines.target import Target
from mrct_train import baselines


def setting(
    arguments: argparse.Namespace, bundle: Bundle, checkpoint: Path, threads: int
) -> Setting:
    """PyTorch eager, eager channels_last and ONNX Runtime, with the peaks of both libraries; no slices."""
    target = Target("cpu", "onnxruntime", "fp32", threads)
    rivals = baselines.networks(bundle.path, checkpoint, "cpu", threads, arguments.size, "none")
    bests = [*peaks("cpu"), *baselines.peaks("cpu", threads), onnx_convolution(threads)]
    quick = arguments.quick
    return Setting(
        bundle=bundle,
        size=arguments.size,
        candidates=(*rivals, *engines(bundle, target, arguments.size), *bests),
        plan=Plan(
            batches=(arguments.batch,),
            rounds=2 if quick else arguments.rounds,
            turn_seconds=0.5 if quick else 4.0,
            warm_up_seconds=2.0 if quick else 10.0,
            seconds=60 * arguments.minutes,
        ),
        slice_plan=SlicePlan("em", {"steps": 1}, 1, rounds=0, seconds=0.0),
        work=count_work(bundle.network("fp32"), arguments.size),
        no_work=None,
        conditions=conditions(shlex.join(["python", "benchmarks/cpu_engine.py", *sys.argv[1:]])),
    )


def verdict(document: dict[str, Any]) -> str:
    """The two figures that the comparison is made for, in a line."""
    (row,) = (row for row in document["evaluations"] if row["kind"] == "engine")
    ratio = row["times_as_fast_as"][baselines.EAGER_FP32]
    return (
        f"ONNX Runtime is {ratio:.2f} times as fast as PyTorch eager ({len(row['rounds_ms'])} rounds) and reaches "
        f"{row['share_of_convolution']:.0%} of the fastest 3x3 convolution measured"
    )


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--network", choices=list(NETWORKS), default="paper")
    made.add_argument("--size", type=int, default=256)
    made.add_argument("--batch", type=int, default=2)
    made.add_argument("--rounds", type=int, default=15)
    made.add_argument("--minutes", type=float, default=6.0)
    made.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    made.add_argument("--quick", action="store_true", help="a look: two short rounds")
    arguments = made.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = save_checkpoint(Path(folder) / "run", arguments.network, arguments.size, "sde")
        path = export(checkpoint, Path(folder) / "network.mrct", report=print)
        bundle = Bundle.load(path)
        asked = setting(arguments, bundle, checkpoint, arguments.threads)
        found = run(asked, arguments.threads, print, lambda _: None)
        print_tables(found)
        found["operators"] = profile(
            bundle.network("fp32"), arguments.size, arguments.batch, arguments.threads, 3
        )
    for name, share in list(found["operators"].items())[:12]:
        print(f"{share:6.1%} of ONNX Runtime's time: {name}")
    print(verdict(found))
    write(found, arguments.json)


if __name__ == "__main__":
    main()
