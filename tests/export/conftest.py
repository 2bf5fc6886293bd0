from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from mrct_export.export import export
from mrct_export.parity import Plan
from mrct_export.to_onnx import Graph, to_onnx
from mrct_runtime.manifest import Image
from mrct_runtime.process import DDPM, VESDE, Process
from mrct_train.checkpoint import Checkpoint, Progress, save
from mrct_train.config import Domain, TrainConfig, UNetConfig
from mrct_train.data import DataSummary
from mrct_train.network import Network, Residual

UNET = UNetConfig(base=8, multipliers=(1, 2), blocks=1, groups=4, embedding=16)
DATA = DataSummary(subjects=3, slices=24, fingerprint="f" * 64, mean=0.25, deviation=0.2)


def random_network(process: Process) -> Network:
    """A network as after training: no weight is zero and no GroupNorm the identity."""
    torch.manual_seed(0)
    network = Network(UNET, process, Residual(DATA.mean, DATA.deviation))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim == 4:
                weight.normal_(0, weight[0].numel() ** -0.5)
            elif name.endswith("norm.weight") or ".norm" in name:
                weight.uniform_(0.5, 1.5)
            else:
                weight.normal_(0, 0.2)
    return network.eval()


@dataclass(frozen=True)
class Exported:
    network: Network
    graph: Graph
    process: Process
    image: Image

    @property
    def plan(self) -> Plan:
        return Plan.of(self.process, self.image)


@pytest.fixture(scope="session")
def exported() -> Exported:
    """A DDPM network and its graph: its residual preconditioning has the most operators."""
    process = DDPM()
    network = random_network(process)
    image = Image(size=32, spacing_mm=2.0, multiple=UNET.multiple)
    return Exported(network, to_onnx(network, UNET.multiple), process, image)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training run that ended with random weights."""
    config = TrainConfig(
        name="tiny",
        method="sde",
        unet=UNET,
        preconditioning="residual",
        size=32,
        spacing_mm=2.5,
        data="no data at all",
        licence="CC0-1.0",
        domain=Domain(sequence="T2w SPACE"),
    )
    ema = random_network(VESDE()).state_dict()
    fresh = {name: torch.zeros_like(weight) for name, weight in ema.items()}
    progress = Progress(step=120, seconds=90.0, last_loss=0.5)
    folder = tmp_path_factory.mktemp("run")
    save(Checkpoint(config, DATA, progress, fresh, ema, {"0.step": torch.zeros(1)}), folder)
    return folder


@pytest.fixture(scope="session")
def bundle_path(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(run, tmp_path_factory.mktemp("bundles") / "tiny.mrct")
