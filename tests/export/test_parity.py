from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from perturbed_graph import perturbed

from mrct_export.parity import Gate, Plan, check, golden, inputs, measure, response
from mrct_export.to_onnx import Graph
from mrct_runtime.engines.onnxruntime import OnnxRuntime
from mrct_runtime.errors import NumericError
from mrct_runtime.process import DDPM, VESDE, Direct
from mrct_train.network import DirectNetwork, Network, Residual
from mrct_train.torch_engine import TorchEngine
from mrct_train.unet import UNetConfig


def engine(graph: Graph):
    return OnnxRuntime(graph.dumps(), threads=1)


@pytest.fixture(scope="module")
def parity(exported):
    return measure(exported.network, engine(exported.graph), exported.process, exported.plan)


def test_onnx_runtime_computes_what_pytorch_computes(parity) -> None:
    check(parity, Gate())
    assert 0 < parity.relative_rms <= 1e-5
    assert parity.relative_rms <= parity.relative_max <= 1e-4


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_graph_that_overflows_at_one_time_is_refused(exported, value: float) -> None:
    process = exported.process

    class Overflowing(TorchEngine):
        def bind(self, cond):
            denoise = super().bind(cond)
            return lambda x, t: denoise(x, t) * np.float32(value if t == process.t_max else 1)

    with pytest.raises(NumericError, match="not finite at t = 1, 1 images of 64 x 64"):
        measure(exported.network, Overflowing(exported.network), process, exported.plan)


def test_it_is_measured_at_the_bounds_of_time_at_three_batches_and_three_sizes(
    exported, parity
) -> None:
    assert parity.times == ((1.0,) if exported.process == Direct() else (0.001, 0.5, 1.0))
    assert parity.batches == (1, 3, 10)
    (square, wide, trained) = parity.sizes
    assert square == (64, 64)
    assert wide[0] != wide[1]
    assert trained == (exported.image.size, exported.image.size)
    assert {(t, b) for t, b, _ in exported.plan} >= {
        (t, b) for t in parity.times for b in (1, 3, 10)
    }
    assert parity.reference == f"torch {torch.__version__}"


def test_one_weight_changed_by_a_percent_is_refused(exported) -> None:
    session = engine(perturbed(exported.graph, 0.01))
    plan = replace(exported.plan, batches=(1,), sizes=((16, 16),), full_size=(16, 16))
    spoiled = measure(exported.network, session, exported.process, plan)
    with pytest.raises(NumericError, match=r"differs from the network: relative_\w+"):
        check(spoiled, Gate())


def test_a_difference_that_is_not_a_number_is_refused(parity) -> None:
    spoiled = parity.model_copy(update={"relative_rms": float("nan")})
    with pytest.raises(NumericError, match="relative_rms nan"):
        check(spoiled, Gate())


@pytest.mark.parametrize("process", [VESDE(), DDPM()])
@pytest.mark.parametrize("residual", [None, Residual(0.2, 0.2)])
def test_a_fresh_network_is_refused_because_its_parity_proves_nothing(
    exported, parity, process, residual
) -> None:
    fresh = Network(UNetConfig(base=8, multipliers=(1, 2), blocks=1), process, residual)
    found = response(fresh, process, Plan.of(process, exported.image))
    assert found == 0
    with pytest.raises(NumericError, match="parity would prove nothing"):
        check(parity.model_copy(update={"response": found}), Gate())


def test_a_fresh_direct_network_is_refused_as_well(parity, exported) -> None:
    fresh = DirectNetwork(UNetConfig(base=8, multipliers=(1, 2), blocks=1))
    assert response(fresh, Direct(), Plan.of(Direct(), exported.image)) == 0


@pytest.mark.parametrize("process", [VESDE(), DDPM()])
@pytest.mark.parametrize("t", [None, 0.5, 1.0])
def test_inputs_have_the_spread_that_the_process_gives_them(process, t: float | None) -> None:
    t = t or process.t_min
    case = inputs(process, np.full(4, t), (64, 64), seed=5)
    noiseless = inputs(replace_std(process), np.full(4, t), (64, 64), seed=5)
    noise = case.x.astype(np.float64) - noiseless.x
    assert noise.std() == pytest.approx(process.std(t), rel=0.03)
    assert case.x.dtype == case.y.dtype == case.t.dtype == np.float32
    assert 0 <= case.y.min() < case.y.max() <= 1


def replace_std(process):
    class Noiseless(type(process)):
        def std(self, t: float) -> float:
            return 0.0

    return Noiseless(**{f: getattr(process, f) for f in process.__dataclass_fields__})


def test_the_golden_output_is_pytorchs_at_times_from_t_min_to_one(exported) -> None:
    found = golden(exported.network, exported.process, exported.image)
    assert tuple(found.inputs) == exported.form.names[:-1]
    if "t" in found.inputs:
        assert found.inputs["t"][0] == np.float32(exported.process.t_min)
        assert found.inputs["t"][-1] == 1
    assert len(found.output) >= 3
    assert found.output.shape[2] != found.output.shape[3]
    with torch.inference_mode():
        one_by_one = [
            exported.network(*(torch.from_numpy(v[i : i + 1]) for v in found.inputs.values()))
            for i in range(len(found.output))
        ]
    assert found.deviation(torch.cat(one_by_one).numpy()) < 1e-5
    again = golden(exported.network, exported.process, exported.image)
    assert again.dumps() == found.dumps()


def test_a_stricter_gate_is_a_value(parity) -> None:
    with pytest.raises(NumericError, match="at most 1e-12 passes"):
        check(parity, replace(Gate(), relative_rms=1e-12))
