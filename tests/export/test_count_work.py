import pytest
import torch
from random_run import OPTIONS, UNET, random_network
from shared_graphs import shared_graph
from torch.utils.flop_counter import FlopCounterMode

from mrct_export.count_work import count_work
from mrct_export.to_onnx import to_onnx
from mrct_runtime.graph import GRAPHS
from mrct_runtime.process import DDPM, VESDE, Direct
from mrct_train.config import UNetConfig
from mrct_train.network import Network


def counted_by_torch(network, size):
    image = torch.zeros(1, 1, size, size)
    inputs = (image,) if "Direct" in type(network).__name__ else (image, image, torch.ones(1))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs)
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("process", "gives", "unet"),
    [(VESDE(), "eps", UNET), (Direct(), "image", UNET), (DDPM(), "eps", OPTIONS)],
)
def test_operations_are_those_that_torch_counts(process, gives, unet):
    network = random_network(process, unet)
    model = shared_graph(network, GRAPHS[gives], unet.multiple).dumps()
    for size in (16, 32):
        assert count_work(model, size).flop == counted_by_torch(network, size)


def test_traffic_is_that_of_the_layers():
    network = random_network(Direct())
    work = count_work(shared_graph(network, GRAPHS["image"], UNET.multiple).dumps(), 16)
    first = work.layers[0]
    assert (first.operator, first.weights) == ("Conv", 8 * 1 * 9)
    assert first.activations == 16 * 16 * (1 + 8)
    norms = [layer for layer in work.layers if layer.operator == "norm"]
    assert len(norms) == sum(isinstance(m, torch.nn.GroupNorm) for m in network.modules())
    assert norms[0].activations == 3 * 16 * 16 * 8


@pytest.mark.slow
def test_the_papers_network_takes_818_gflop():
    network = Network(UNetConfig(), VESDE())
    model = to_onnx(network, GRAPHS["eps"], UNetConfig().multiple).dumps()
    assert count_work(model, 512).flop / 1e9 == pytest.approx(818, abs=0.5)
