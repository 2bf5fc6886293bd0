from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from random_run import OPTIONS, UNET, random_network, save_run
from shared_graphs import graphs_shared, shared_graph

from mrct_export.export import export
from mrct_export.parity import Plan
from mrct_export.to_onnx import Graph
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


# The plain one has no operator and no size that the other two do not have between them.
EXPORTED = [
    pytest.param((DDPM(), UNET), id="ddpm", marks=pytest.mark.slow),
    pytest.param((Direct(), UNET), id="direct"),
    pytest.param((DDPM(), OPTIONS), id="ddpm with a stem and attention"),
]


@pytest.fixture(scope="module", autouse=True)
def each_network_is_exported_once():
    with graphs_shared():
        yield


@pytest.fixture(scope="session", params=EXPORTED)
def exported(request: pytest.FixtureRequest) -> Exported:
    """A network and its graph: the residual preconditioning of a DDPM has the most operators, a direct one the fewest."""
    process, unet = request.param
    network = random_network(process, unet)
    image = Image(size=32, spacing_mm=2.0, multiple=unet.multiple)
    form = GRAPHS[parametrisation(process)]
    return Exported(network, shared_graph(network, form, unet.multiple), process, image)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training run that ended with random weights."""
    return save_run(tmp_path_factory.mktemp("run"), "sde", preconditioning="residual")


@pytest.fixture(scope="session")
def bundle_path(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with graphs_shared():
        return export(run, tmp_path_factory.mktemp("bundles") / "tiny.mrct")
