"""The stages of a translation one after the other, beside the whole run in which they overlap; the median of runs in turns.

Each run is a process of its own, imports left out. With `--wait MS` every evaluation of the network also waits so long an
image, as for a GPU, while the processor is free. `--before FOLDER` runs another checkout's code for the whole as well.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import parser, report
from memory import HERE, environment

RUN = """
import json, sys, tempfile, time
from contextlib import closing
from pathlib import Path
import highdicom, matplotlib.figure, nibabel
import onnxruntime
from mrct_runtime.bundle import Bundle
from mrct_runtime.engines.wrapped import WrappedEngine
from mrct_runtime.settings import Settings
from mrct_runtime.translate import prepare

bundle, study, wait, staged = Bundle.load(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4] == "stages"
real = Bundle.open_engine

def waiting(denoise):
    def slow(x, t):
        time.sleep(wait / 1000 * len(x))
        return denoise(x, t)
    return slow

Bundle.open_engine = lambda *words: WrappedEngine(real(*words), waiting)
settings, told = Settings(bundle.sampler), {}
with tempfile.TemporaryDirectory() as scratch:
    started = time.perf_counter()
    if staged:
        job = prepare(bundle, study, settings)
        at = time.perf_counter()
        with closing(job.open_engine()) as engine:
            told["opening"] = time.perf_counter() - at
            result = job.run(engine)
    else:
        result = bundle.translate(study)
    at = time.perf_counter()
    result.save(Path(scratch) / "out")
    told |= {**result.seconds, "writing": time.perf_counter() - at, "whole": time.perf_counter() - started}
print(json.dumps(told))
"""


def run(checkout: Path, bundle: Path, study: Path, wait: float, how: str) -> dict[str, float]:
    """Seconds of the stages, as far as they were waited for, and of the whole."""
    command = [sys.executable, "-c", RUN, str(bundle), str(study), str(wait), how]
    done = subprocess.run(
        command, env=environment(checkout), check=True, stdout=subprocess.PIPE, text=True
    )
    told: dict[str, float] = json.loads(done.stdout)
    return told


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Of each stage over the runs, and of their sum."""
    return {stage: round(statistics.median(told[stage] for told in runs), 2) for stage in runs[0]}


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("study", type=Path)
    made.add_argument("bundle", type=Path)
    made.add_argument("--wait", type=float, default=0.0, help="milliseconds an image")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--before", type=Path, help="a checkout of the code before a change")
    arguments = made.parse_args()
    before = arguments.before or HERE
    ways = {"one after the other": (before, "stages"), "overlapping": (HERE, "whole")}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, (checkout, how) in ways.items():
            words = (checkout, arguments.bundle, arguments.study, arguments.wait, how)
            found[name].append(run(*words))
            print(name, found[name][-1])
    figures: dict[str, Any] = {name: medians(runs) for name, runs in found.items()}
    figures |= {"bundle": arguments.bundle.name, "wait_ms_an_image": arguments.wait, "runs": found}
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
