"""Training speed: mrct's trainer against a plain loop on the same network and data, as ratios in one run.

The plain loop has the structure of the published code: fp32, eager, slices taken by a DataLoader, a Python loop for the
moving average, and the loss read after every step, which waits for a GPU. Both take turns, round by round; a ratio is
the median over rounds. Beside it stands the time of the data path alone: slices read from the mapped cache, augmented
and brought to the device.
"""

from __future__ import annotations

import copy
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import parser, report
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mrct_runtime.paired import Slices
from mrct_train.batches import on_device
from mrct_train.checkpoint import build_network
from mrct_train.config import Augmentation, TrainConfig, UNetConfig
from mrct_train.data import Pairs, PreparedSubject
from mrct_train.loss import draw, eps_loss, generator
from mrct_train.ranks import Alone
from mrct_train.trainer import Trainer

NETWORKS = {"paper": UNetConfig(), "small": UNetConfig(base=16, multipliers=(1, 2, 4, 4), blocks=1)}
SUBJECTS, SLICES = 4, 8


def mapped_pairs(folder: Path, size: int) -> Pairs:
    """Slices of smooth random images, written to disk and mapped, as training's cache is."""
    subjects = []
    for s in range(SUBJECTS):
        rng = np.random.default_rng(s)
        coarse = rng.normal(0, 300, (2, SLICES, size // 8, size // 8)).repeat(8, 2).repeat(8, 3)
        arrays = {
            "mr": np.clip(coarse[0] / 1e3 + 0.5, 0, 1),
            "hu": coarse[1],
            "body": coarse[0] > 0,
        }
        for name, array in arrays.items():
            kind = bool if name == "body" else np.float32
            np.save(folder / f"{s}-{name}.npy", array.astype(kind), allow_pickle=False)
        mapped = (
            np.load(folder / f"{s}-{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in Slices._fields
        )
        subjects.append(PreparedSubject(f"random-{s}", Slices(*mapped), "random"))
    return Pairs(tuple(subjects))


def plain_loop(config: TrainConfig, pairs: Pairs, device: str) -> Callable[[int], None]:
    """A function that makes so many steps in the structure of the published code."""
    x0, y = (torch.from_numpy(images) for images in pairs.batch(range(SUBJECTS * SLICES)))
    loader = DataLoader(TensorDataset(x0, y), batch_size=config.batch, shuffle=True, drop_last=True)
    network = build_network(config, pairs.summary(range(SUBJECTS))).to(device)
    average = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    batches = _endless(loader)

    def run(steps: int) -> None:
        for step in range(steps):
            pair = tuple(image.to(device) for image in next(batches))
            drawn = draw(config.process, pair[0].shape, generator(0, step), stratified=False)
            loss = eps_loss(network, config.process, (pair[0], pair[1]), drawn)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            loss.item()
            _average(average, network)

    return run


def _endless(loader: DataLoader[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
    while True:
        yield from loader


@torch.no_grad()
def _average(average: nn.Module, network: nn.Module) -> None:
    for kept, weight in zip(average.parameters(), network.parameters(), strict=True):
        kept.copy_(0.9999 * kept + 0.0001 * weight)


def our_loop(trainer: Trainer) -> Callable[[int], None]:
    """A function that makes so many of the trainer's steps."""

    def run(steps: int) -> None:
        for _ in range(steps):
            trainer.advance()

    return run


def loader_only(trainer: Trainer, device: torch.device) -> Callable[[int], None]:
    """A function that makes so many batches ready as training has them, and trains on none."""

    def run(steps: int) -> None:
        for step in range(steps):
            on_device(trainer.learner.batches(step), device)

    return run


def seconds_a_step(run: Callable[[int], None], steps: int, device: torch.device) -> float:
    """The time of a step, over so many."""
    _wait(device)
    began = time.perf_counter()
    run(steps)
    _wait(device)
    return (time.perf_counter() - began) / steps


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_megabytes(device: torch.device) -> float:
    """The most memory held so far: of the GPU by tensors, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def measure(arguments: Any, folder: Path) -> dict[str, Any]:
    """Seconds a step of both loops and of the data path, and their ratios, each a median over the rounds."""
    device = torch.device(arguments.device)
    config = TrainConfig(
        unet=NETWORKS[arguments.network],
        size=arguments.size,
        batch=arguments.batch,
        precision=arguments.precision,
        steps=10**6,
        sample_epochs=0,
        augmentation=Augmentation(mirror=True, rotation_degrees=5, shift_mm=5, intensity=0.1),
    )
    pairs = mapped_pairs(folder, arguments.size)
    (folder / "run").mkdir()
    trainer = Trainer(config, pairs, folder / "run", Alone(device))
    loops = {
        "plain": plain_loop(config, pairs, arguments.device),
        "mrct": our_loop(trainer),
        "data": loader_only(trainer, device),
    }
    for run in loops.values():
        run(2)
    memory: dict[str, float] = {}
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(arguments.rounds):
        for name, run in loops.items():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            times[name].append(seconds_a_step(run, arguments.steps, device))
            memory[name] = peak_megabytes(device)
    trainer.close()
    pairwise = zip(times["plain"], times["mrct"], strict=True)
    shares = zip(times["data"], times["mrct"], strict=True)
    return {
        "seconds_a_step": {name: round(statistics.median(t), 4) for name, t in times.items()},
        "plain_over_mrct": round(statistics.median(a / b for a, b in pairwise), 3),
        "data_over_mrct": round(statistics.median(a / b for a, b in shares), 4),
        "peak_megabytes": {name: round(megabytes) for name, megabytes in memory.items()},
        "parameters": sum(weight.numel() for weight in trainer.ema.network.parameters()),
    }


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--network", choices=list(NETWORKS), default="small")
    made.add_argument("--size", type=int, default=128)
    made.add_argument("--batch", type=int, default=4)
    made.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    made.add_argument("--device", default="cpu")
    made.add_argument("--threads", type=int)
    made.add_argument("--steps", type=int, default=10, help="of a round")
    made.add_argument("--rounds", type=int, default=9)
    arguments = made.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments, Path(folder))
    gpu = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else None
    settings = {name: value for name, value in vars(arguments).items() if name != "json"}
    print(figures, file=sys.stdout)
    report({"settings": settings, "gpu": gpu, **figures}, arguments.json)


if __name__ == "__main__":
    main()
