"""The folder of a training run that ended with random weights, which is all that an export needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mrct_runtime.appearance import Seen
from mrct_runtime.process import Direct, Process
from mrct_train.checkpoint import Checkpoint, Progress, save
from mrct_train.config import Domain, TrainConfig, UNetConfig
from mrct_train.data import DataSummary
from mrct_train.network import DirectNetwork, Network, Residual

UNET = UNetConfig(base=8, multipliers=(1, 2), blocks=1, groups=4, embedding=16)
OPTIONS = UNET.model_copy(update={"stem": 2, "attention_heads": 2})
"""The same with a patched stem and attention."""
DATA = DataSummary(
    subjects=3,
    slices=24,
    fingerprint="f" * 64,
    mean=0.25,
    deviation=0.2,
    digests=("1" * 64, "2" * 64, "3" * 64),
    seen=Seen(subjects=3, ranges={"rim": (0.1, 0.25)}),
)


def random_network(process: Process, unet: UNetConfig = UNET) -> Network | DirectNetwork:
    """A network as after training: no weight is zero and no GroupNorm the identity."""
    torch.manual_seed(0)
    network = (
        DirectNetwork(unet)
        if isinstance(process, Direct)
        else Network(unet, process, Residual(DATA.mean, DATA.deviation))
    )
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim == 4:
                weight.normal_(0, weight[0].numel() ** -0.5)
            elif name.endswith("norm.weight") or ".norm" in name:
                weight.uniform_(0.5, 1.5)
            else:
                weight.normal_(0, 0.2)
    return network.eval()


def save_run(folder: Path, method: str, *, unet: UNetConfig = UNET, **changes: Any) -> Path:
    """The folder, holding a checkpoint of this method with random averaged weights."""
    config = TrainConfig(
        name="tiny",
        method=method,
        unet=unet,
        size=32,
        spacing_mm=2.5,
        data="no data at all",
        licence="CC0-1.0",
        domain=Domain(sequence="T2w SPACE"),
        **changes,
    )
    ema = random_network(config.process, unet).state_dict()
    fresh = {name: torch.zeros_like(weight) for name, weight in ema.items()}
    progress = Progress(step=120, seconds=90.0, last_loss=0.5)
    save(Checkpoint(config, DATA, progress, fresh, ema, {"0.step": torch.zeros(1)}), folder)
    return folder
