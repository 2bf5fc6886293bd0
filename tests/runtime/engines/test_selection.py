"""Which backend is taken, on a machine whose GPUs and backends are made up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle

from mrct_runtime import cuda
from mrct_runtime.bundle import Bundle
from mrct_runtime.engines import ENGINES, Backend, Entry, selection
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.engines.target import Network, Target
from mrct_runtime.errors import EngineError, NumericError, UsageError
from mrct_runtime.process import VESDE


class Fake(Analytic):
    """The tiny bundle's network in closed form, under another backend's name."""

    def __init__(self, network: Network, target: Target, name: str) -> None:
        super().__init__(VESDE())
        made = Backend(name, target.device, network.precision, target.threads)
        object.__setattr__(self, "backend", made)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return Bundle.load(write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny.mrct"))


@pytest.fixture
def backends(monkeypatch):
    """Sets up GPUs and backends, each with the error that it raises or None, and gives their openers.

    A backend serves the device that its name begins with.
    """
    openers = {}
    monkeypatch.setattr(selection, "opener", lambda name: openers[name])

    def set_up(gpus: tuple[str, ...] = (), **failures: Exception | None) -> dict:
        monkeypatch.setattr(cuda, "gpus", lambda: gpus)
        ENGINES.clear()
        for name, failure in failures.items():
            ENGINES[name] = Entry("nowhere:nothing", name.partition("_")[0])

            def open_it(network, target, name=name, failure=failure):
                if failure is not None:
                    raise failure
                return Fake(network, target, name)

            openers[name] = open_it
        return openers

    kept = dict(ENGINES)
    yield set_up
    ENGINES.clear()
    ENGINES.update(kept)


def taken(bundle: Bundle, target: Target) -> tuple[Backend, list[str]]:
    told: list[str] = []
    engine = bundle.open_engine(target, told.append)
    engine.close()
    return engine.backend, told


def test_auto_takes_the_first_backend_of_a_gpu_and_tells_nothing(bundle, backends) -> None:
    backends(("A GPU",), cuda_a=None, cuda_b=None, cpu_c=None)
    backend, told = taken(bundle, Target())
    assert (backend.engine, backend.device, told) == ("cuda_a", "cuda", [])


def test_auto_without_a_gpu_takes_the_cpu_and_says_why(bundle, backends) -> None:
    backends((), cuda_a=None, cpu_c=None)
    backend, (told,) = taken(bundle, Target(threads=3))
    assert (backend.engine, backend.device, backend.threads) == ("cpu_c", "cpu", 3)
    assert told.startswith("running on cpu by cpu_c (")


def test_what_cannot_be_opened_is_told_with_its_reason(bundle, backends) -> None:
    backends(("A GPU",), cuda_a=EngineError("no such library"), cuda_b=None, cpu_c=None)
    backend, told = taken(bundle, Target("cuda:0"))
    assert backend.engine == "cuda_b"
    assert told == ["running on cuda:0 by cuda_b (cuda_a: no such library)"]


@pytest.mark.parametrize(
    "target", [Target("cuda"), Target("cuda", backend="cuda_a"), Target(backend="cuda_a")]
)
def test_a_gpu_that_is_asked_for_is_never_replaced(bundle, backends, target) -> None:
    backends((), cuda_a=None, cpu_c=None)
    with pytest.raises(EngineError, match="cannot be had"):
        bundle.open_engine(target)
    backends(("A GPU",), cuda_a=EngineError("no such library"), cpu_c=None)
    with pytest.raises(EngineError, match="no such library"):
        bundle.open_engine(target)


def test_a_gpu_with_too_high_a_number_is_refused_with_what_there_is(bundle, backends) -> None:
    backends(("A GPU",), cuda_a=None)
    with pytest.raises(EngineError, match=r"there is no cuda:1, the last is cuda:0 \(A GPU\)"):
        bundle.open_engine(Target("cuda:1"))


def test_a_backend_of_another_device_is_refused(bundle, backends) -> None:
    backends(("A GPU",), cuda_a=None, cpu_c=None)
    with pytest.raises(UsageError, match="the backend cpu_c runs on cpu, not on cuda"):
        bundle.open_engine(Target("cuda", backend="cpu_c"))
    assert taken(bundle, Target(backend="cpu_c"))[0].device == "cpu"


def test_a_backend_that_computes_something_else_is_never_replaced(bundle, backends) -> None:
    made = backends((), cpu_a=None, cpu_b=None)
    closed: list[bool] = []

    class Wrong(Fake):
        def bind(self, cond):
            denoise = super().bind(cond)
            return lambda x, t: np.float64(1.001) * denoise(x, t)

        def close(self) -> None:
            closed.append(True)

    made["cpu_a"] = lambda network, target: Wrong(network, target, "cpu_a")
    with pytest.raises(NumericError, match="cpu_a computes something else"):
        bundle.open_engine(Target())
    assert closed == [True]


def test_a_backend_that_opens_and_cannot_evaluate_gives_way_and_is_closed(bundle, backends) -> None:
    made = backends(("A GPU",), cuda_a=None, cuda_b=None)
    closed: list[bool] = []

    class Failing(Fake):
        def bind(self, cond):
            raise EngineError("no kernel image")

        def close(self) -> None:
            closed.append(True)

    made["cuda_a"] = lambda network, target: Failing(network, target, "cuda_a")
    backend, told = taken(bundle, Target())
    assert (backend.engine, closed) == ("cuda_b", [True])
    assert told == ["running on cuda by cuda_b (cuda_a: no kernel image)"]
    with pytest.raises(EngineError, match="cuda_a: no kernel image"):
        bundle.open_engine(Target("cuda", backend="cuda_a"))


def test_what_is_not_automatic_is_taken_only_where_it_is_named(bundle, backends) -> None:
    backends(("A GPU",), cuda_a=None, cuda_b=None)
    ENGINES["cuda_a"] = ENGINES["cuda_a"]._replace(automatic=False)
    assert taken(bundle, Target("cuda"))[0].engine == "cuda_b"
    assert taken(bundle, Target("cuda", backend="cuda_a"))[0].engine == "cuda_a"


class Fusing(Fake):
    """A backend that fuses its graph, which goes wrong in a way of its own."""

    wrong = 1.0
    failure: EngineError | None = None

    def __init__(self, network: Network, target: Target) -> None:
        if target.fuse and self.failure is not None:
            raise self.failure
        super().__init__(network, target, "cuda_a")
        object.__setattr__(self, "backend", replace(self.backend, fused=target.fuse))

    def bind(self, cond):
        denoise = super().bind(cond)
        scale = self.wrong if self.backend.fused else 1.0
        return lambda x, t: scale * denoise(x, t)


@pytest.mark.parametrize("target", [Target(), Target("cuda:0", backend="cuda_a")])
@pytest.mark.parametrize(
    ("wrong", "failure", "reason"),
    [
        (1.0, None, None),
        (1.001, None, "computes something else"),
        (np.nan, None, "computes something else"),
        (1.0, EngineError("onnx is not installed"), "onnx is not installed"),
    ],
)
def test_a_fused_graph_that_fails_gives_way_to_the_plain_one_and_that_is_told(
    bundle, backends, target, wrong, failure, reason
) -> None:
    made = backends(("A GPU",), cuda_a=None, cpu_b=None)
    ENGINES["cuda_a"] = ENGINES["cuda_a"]._replace(fuses=True)
    made["cuda_a"] = type("Made", (Fusing,), {"wrong": wrong, "failure": failure})
    backend, told = taken(bundle, target)
    assert (backend.engine, backend.fused) == ("cuda_a", reason is None)
    if reason is None:
        assert told == []
    else:
        (line,) = told
        assert "by cuda_a (cuda_a with its graph fused: " in line
        assert reason in line


def test_fusing_can_be_turned_off_and_is_asked_only_of_backends_that_can(bundle, backends) -> None:
    made, seen = backends(("A GPU",), cuda_a=None, cuda_b=None), []
    ENGINES["cuda_a"] = ENGINES["cuda_a"]._replace(fuses=True)
    for name in ("cuda_a", "cuda_b"):
        made[name] = lambda network, target, name=name: (
            seen.append(target.fuse) or Fake(network, target, name)
        )
    for target in (
        Target("cuda"),
        Target("cuda", fuse=False),
        Target("cuda", backend="cuda_b"),
    ):
        taken(bundle, target)
    assert seen == [True, False, False]


def test_one_reason_for_both_graphs_is_told_once(bundle, backends) -> None:
    backends(("A GPU",), cuda_a=EngineError("no library"), cuda_b=None)
    ENGINES["cuda_a"] = ENGINES["cuda_a"]._replace(fuses=True)
    assert taken(bundle, Target("cuda"))[1] == ["running on cuda by cuda_b (cuda_a: no library)"]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"device": "cuda:"}, "unknown device 'cuda:'"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"threads": 0}, "threads must be from 1 to 1024, got 0"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
    ],
)
def test_targets_that_make_no_sense_are_refused(wrong, word) -> None:
    with pytest.raises(UsageError, match=word):
        Target(**wrong)


def test_a_precision_that_the_bundle_lacks_is_refused(bundle) -> None:
    with pytest.raises(UsageError, match="has no fp16 network"):
        bundle.open_engine(Target("cpu", precision="fp16"))
