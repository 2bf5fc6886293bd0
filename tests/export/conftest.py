from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from random_run import OPTIONS, UNET, random_network, save_run

from mrct_export.export import export
from mrct_export.parity import Plan
from mrct_export.to_onnx import Graph, to_onnx
from mrct_runtime.graph import GRAPHS, GraphForm, parametrisation
from mrct_runtime.manifest import Image
from mrct_runtime.process import DDPM, Direct, Process
from mrct_train.network import DirectNetwork, Network


@dataclass(frozen=True)
class Exported:
    network: Network | DirectNetwork
    graph: Graph
    process: Process
    image: Image

    @property
    def plan(self) -> Plan:
        return Plan.of(self.process, self.image)

    @property
    def form(self) -> GraphForm:
        return GRAPHS[parametrisation(self.process)]


EXPORTED = {
    "ddpm": (DDPM(), UNET),
    "direct": (Direct(), UNET),
    "ddpm with a stem and attention": (DDPM(), OPTIONS),
}


@pytest.fixture(scope="session", params=EXPORTED.values(), ids=EXPORTED)
def exported(request: pytest.FixtureRequest) -> Exported:
    """A network and its graph: the residual preconditioning of a DDPM has the most operators, a direct one the fewest."""
    process, unet = request.param
    network = random_network(process, unet)
    image = Image(size=32, spacing_mm=2.0, multiple=unet.multiple)
    form = GRAPHS[parametrisation(process)]
    return Exported(network, to_onnx(network, form, unet.multiple), process, image)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training run that ended with random weights."""
    return save_run(tmp_path_factory.mktemp("run"), "sde", preconditioning="residual")


@pytest.fixture(scope="session")
def bundle_path(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(run, tmp_path_factory.mktemp("bundles") / "tiny.mrct")
