"""What the options of the UNet cost: its parameters, operations and seconds, with a patched stem, with attention, and without.

All graphs live in one process with one thread each and take turns. What is measured is the processor's time, so that
other work on the machine delays a figure and changes it little; ratios are medians over rounds, against the first.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import torch
from machine import parser, report
from paper_bundle import NETWORKS
from torch import nn

from mrct_export.count_work import count_work
from mrct_export.to_onnx import to_onnx
from mrct_runtime.graph import GRAPHS
from mrct_runtime.process import VESDE
from mrct_train.config import UNetConfig
from mrct_train.network import Network
from mrct_train.random_weights import randomise

OPTIONS = ("", "-attention", "-stem", "-stem-wide")


@dataclass(eq=False)
class Contestant:
    """A network, what it does in a turn, and the seconds of its turns."""

    name: str
    config: UNetConfig
    parameters: int
    gflop: float
    work: dict[str, Callable[[], object]]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def turn(self) -> None:
        """Every kind of work once."""
        for kind, work in self.work.items():
            began = time.thread_time()
            work()
            self.seconds.setdefault(kind, []).append(time.thread_time() - began)

    def figures(self, first: Contestant) -> dict[str, Any]:
        """Milliseconds of each kind of work, and how many times the first one's."""
        unet = self.config.model_dump(mode="json", exclude_defaults=True)
        return {
            "network": self.name,
            "unet": unet,
            "parameters": self.parameters,
            "gflop_an_image": self.gflop,
            **{
                kind: {
                    "ms": 1e3 * statistics.median(seconds),
                    "times_the_first": statistics.median(
                        mine / others
                        for mine, others in zip(seconds, first.seconds[kind], strict=True)
                    ),
                }
                for kind, seconds in self.seconds.items()
            },
        }


def contestant(name: str, arguments: argparse.Namespace) -> Contestant:
    """The network of this name, its graph in ONNX Runtime, warmed up."""
    config = NETWORKS[name]
    network = Network(config, VESDE())
    randomise(network)
    model = to_onnx(network, GRAPHS["eps"], config.multiple).dumps()
    work = {"evaluation": evaluation(model, arguments.size, arguments.batch)}
    if arguments.training:
        work["training_step"] = training_step(network, arguments.size, arguments.training)
    for kind in work.values():
        kind()
    return Contestant(
        name,
        config,
        parameters=sum(weight.numel() for weight in network.parameters()),
        gflop=count_work(model, arguments.size).flop / 1e9,
        work=work,
    )


def evaluation(model: bytes, size: int, batch: int) -> Callable[[], object]:
    """One evaluation of the graph in ONNX Runtime with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    shape = (batch, 1, size, size)
    x, y = (np.random.default_rng(seed).random(shape, np.float32) for seed in (0, 1))
    given = {"x": x, "y": y, "t": np.full(batch, 0.5, np.float32)}
    return lambda: session.run(None, given)


def training_step(network: nn.Module, size: int, batch: int) -> Callable[[], object]:
    """Forward, backward and Adam in PyTorch with one thread."""
    optimiser = torch.optim.Adam(network.parameters())
    x, y = torch.rand(2, batch, 1, size, size)
    t = torch.rand(batch)

    def step() -> None:
        optimiser.zero_grad()
        network(x, y, t).square().mean().backward()
        optimiser.step()

    return step


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--network", choices=["small", "paper", "tiny"], default="small")
    made.add_argument("--size", type=int, default=96)
    made.add_argument("--batch", type=int, default=1)
    made.add_argument("--rounds", type=int, default=9)
    made.add_argument("--training", type=int, metavar="BATCH", help="training steps as well")
    arguments = made.parse_args()
    torch.set_num_threads(1)
    names = [arguments.network + option for option in OPTIONS]
    contestants = [contestant(name, arguments) for name in names if name in NETWORKS]
    for _ in range(arguments.rounds):
        for each in contestants:
            each.turn()
    found = [each.figures(contestants[0]) for each in contestants]
    for row in found:
        kinds = [kind for kind in ("evaluation", "training_step") if kind in row]
        told = ", ".join(
            f"{kind.replace('_', ' ')} {row[kind]['ms']:.1f} ms ({row[kind]['times_the_first']:.2f})"
            for kind in kinds
        )
        print(
            f"{row['network']:18} {row['parameters'] / 1e6:6.2f} M, {row['gflop_an_image']:7.2f} GFLOP, {told}"
        )
    report({"rounds": arguments.rounds, "networks": found}, arguments.json)


if __name__ == "__main__":
    main()
