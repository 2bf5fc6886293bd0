"""TensorRT-RTX builds engines of the paper's network of 26 M parameters here, without a GPU, at both precisions."""

from __future__ import annotations

import hashlib

import pytest
import torch
from random_run import OPTIONS, random_network

from mrct_export.precision import half_network
from mrct_export.to_onnx import to_onnx
from mrct_runtime.engines.cache import EngineCache
from mrct_runtime.engines.target import Network
from mrct_runtime.engines.tensorrt_build import Shapes, check_size
from mrct_runtime.engines.tensorrt_choice import Gpu, made, serving
from mrct_runtime.engines.tensorrt_library import RTX, Library
from mrct_runtime.errors import EngineError
from mrct_runtime.graph import GRAPHS
from mrct_runtime.onnx_header import weights
from mrct_runtime.process import VESDE
from mrct_train.config import UNetConfig
from mrct_train.network import Network as Trained
from mrct_train.random_weights import randomise

SIZE, PARAMETERS = 512, 26_118_593

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def library() -> Library:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    return Library(RTX)


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    """The paper's network with random weights, whole and mixed."""
    torch.manual_seed(0)
    config = UNetConfig()
    trained = Trained(config, VESDE()).eval()
    randomise(trained)
    assert sum(p.numel() for p in trained.parameters()) == PARAMETERS
    graphs = {"fp32": trained, "fp16": half_network(trained)}
    return {
        precision: Network(
            to_onnx(module, GRAPHS["eps"], config.multiple).dumps(),
            precision,
            SIZE,
            18,
            (4, 32, 32 + config.multiple),
        )
        for precision, module in graphs.items()
    }


@pytest.fixture
def cache(tmp_path, monkeypatch) -> EngineCache:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return EngineCache.open()


def test_both_precisions_build_for_batches_of_1_to_16_and_half_is_half_as_large(
    library, networks, cache
) -> None:
    sizes = {}
    for precision, network in networks.items():
        record, engine, built = made(library, network, Shapes.dynamic(SIZE, 10), None)
        assert built
        assert record.key.onnx_sha256 == hashlib.sha256(network.model).hexdigest()
        assert (record.key.precision, record.key.batch) == (precision, (1, 10, 16))
        assert (record.key.height, record.key.width, record.key.opset) == (SIZE, SIZE, 18)
        assert serving(library, network, 10, Gpu("12.0", "A GPU")).record == record
        assert not serving(library, network, 10, Gpu("12.0", "A GPU")).built
        sizes[precision] = len(engine)
    stored, whole = weights(networks["fp16"].model)
    assert whole == pytest.approx(4 * PARAMETERS, rel=0.001)
    assert stored < 0.55 * whole
    assert sizes["fp32"] > whole
    assert sizes["fp16"] < 0.7 * sizes["fp32"]
    with pytest.raises(EngineError, match="built in float32"):
        check_size(networks["fp16"].model, sizes["fp32"], profiles=2)


def test_engines_of_one_shape_build_and_a_flipped_byte_is_refused(library, networks, cache) -> None:
    for network in networks.values():
        shapes = Shapes.static(SIZE, 10)
        path = cache.path(made(library, network, shapes, None, ("8.6", "8.9", "12.0")).record.key)
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 1
        path.write_bytes(content)
        with pytest.raises(EngineError, match=f"{path} was changed"):
            serving(library, network, 10, Gpu("8.9", "A GPU"))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_patched_stem_and_attention_build(library, cache, precision) -> None:
    network = random_network(VESDE(), OPTIONS)
    module = network if precision == "fp32" else half_network(network)
    graph = to_onnx(module, GRAPHS["eps"], OPTIONS.multiple).dumps()
    _, engine, built = made(
        library, Network(graph, precision, 64, 18, (4, 32, 36)), Shapes.dynamic(64, 4), None
    )
    assert built
    assert len(engine) > weights(graph).stored
