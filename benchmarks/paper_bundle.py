"""A bundle of the paper's network with random weights, for measurements of speed: 26.12 M parameters, 512 x 512 pixels.

Every GroupNorm gets a scale and shift of its own, because optimisers would remove one that does nothing. It goes the way
of a trained network: a checkpoint, then `mrct-export` with its comparison of graph and network.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

from mrct_cli import boundary
from mrct_cli.main import load
from mrct_train.checkpoint import Checkpoint, Progress, build_network, save
from mrct_train.config import TrainConfig, UNetConfig
from mrct_train.data import DataSummary
from mrct_train.random_weights import randomise

_SMALL = UNetConfig(base=16, multipliers=(1, 2, 4, 4), blocks=1)
_TINY = UNetConfig(base=8, multipliers=(1, 2), blocks=1, groups=4, embedding=16)
NETWORKS = {
    "paper": UNetConfig(),
    "paper-attention": UNetConfig(attention_heads=4),
    "paper-stem": UNetConfig(stem=2, base=128, multipliers=(1, 1, 2, 2)),
    "paper-stem-wide": UNetConfig(stem=2, base=160, multipliers=(1, 1, 2, 2)),
    "small": _SMALL,
    "small-attention": _SMALL.model_copy(update={"attention_heads": 1}),
    "small-stem": UNetConfig(stem=2, base=32, multipliers=(1, 2, 2), blocks=1),
    "small-stem-wide": UNetConfig(stem=2, base=32, multipliers=(1, 2, 4), blocks=1),
    "tiny": _TINY,
    "tiny-attention": _TINY.model_copy(update={"attention_heads": 2}),
    "tiny-stem": _TINY.model_copy(update={"stem": 2, "base": 16, "multipliers": (1,)}),
}
"""A stem takes the place of the first level: the levels below it stay as they are, or get wider."""
PRESETS = {"sde": {"em": {"steps": 10}}, "ddpm": {"ddpm": {"steps": 10}}}
"""Short: --fp16 samples by every preset, and random weights have no quality to judge."""
DATA = DataSummary(subjects=0, slices=1, fingerprint="none", mean=0.25, deviation=0.2, digests=())


def save_checkpoint(folder: Path, network: str, size: int, method: str) -> Path:
    """The folder of a run that ended with random weights."""
    config = TrainConfig(
        name=f"{network} network, random weights",
        method=method,
        unet=NETWORKS[network],
        size=size,
        data="no data: random weights for measurements of speed",
        licence="CC0-1.0",
    )
    made = build_network(config, DATA)
    randomise(made)
    weights = made.state_dict()
    fresh = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    progress = Progress(step=1, last_loss=1.0)
    save(Checkpoint(config, DATA, progress, fresh, weights, {"0.step": torch.zeros(1)}), folder)
    return folder


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("bundle", type=Path, help="NAME.mrct")
    made.add_argument("--network", choices=list(NETWORKS), default="paper")
    made.add_argument("--size", type=int, default=512)
    made.add_argument("--method", choices=["ddpm", "sde"], default="sde")
    made.add_argument("--fp16", action="store_true", help="as well, by mrct-export --fp16")
    made.add_argument("--checkpoint", type=Path, help="keep the checkpoint in this folder")
    arguments = made.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = arguments.checkpoint or Path(scratch) / "run"
        save_checkpoint(run, arguments.network, arguments.size, arguments.method)
        presets = Path(scratch) / "presets.json"
        presets.write_text(json.dumps(PRESETS[arguments.method]), "utf-8")
        words = [str(run), str(arguments.bundle), "--overwrite", "--presets", str(presets)]
        words += ["--fp16"] if arguments.fp16 else []
        sys.exit(boundary.run(load("export"), "mrct-export", words))


if __name__ == "__main__":
    main()
