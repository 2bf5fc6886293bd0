"""Which provider ONNX Runtime really takes, on an ONNX Runtime that is made up where its own has none for a GPU."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import onnxruntime
import pytest
from fake_device import FakeDevice

from mrct_runtime.engines import onnxruntime_providers
from mrct_runtime.engines.onnxruntime_providers import (
    CPU,
    CUDA,
    TENSORRT,
    TENSORRT_RTX,
    Provider,
    open_session,
    require,
)
from mrct_runtime.errors import EngineError

GPUS = [CUDA, TENSORRT, TENSORRT_RTX]


class Session:
    """A session that says who runs which of its nodes."""

    def __init__(self, providers: list[str], nodes: dict[str, list[str]]) -> None:
        self.providers, self.nodes = providers, nodes

    def get_providers(self) -> list[str]:
        return self.providers

    def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(
                ep_name=name,
                get_nodes=lambda kinds=kinds: [
                    SimpleNamespace(op_type=kind.rpartition(":")[2], domain=kind.rpartition(":")[0])
                    for kind in kinds
                ],
            )
            for name, kinds in self.nodes.items()
        ]


class MadeUp:
    """An ONNX Runtime with providers for GPUs, whose sessions are what `session` says."""

    __version__ = "9.9"
    __file__ = "/nowhere/onnxruntime/__init__.py"
    GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel

    def __init__(self) -> None:
        self.session = Session([], {})
        self.asked: list[tuple] = []
        self.plugins: list[tuple[str, str]] = []
        self.devices = [SimpleNamespace(ep_name=TENSORRT_RTX.name, number=n) for n in range(2)]

    def get_available_providers(self) -> list[str]:
        return [provider.name for provider in (CPU, CUDA, TENSORRT)]

    def preload_dlls(self, *, directory: str) -> None:
        print("Failed to load everything")  # noqa: T201 - as ONNX Runtime does

    def set_default_logger_severity(self, severity: int) -> None:
        pass

    def SessionOptions(self) -> SimpleNamespace:  # noqa: N802 - ONNX Runtime's name
        return SimpleNamespace(
            add_session_config_entry=lambda key, value: self.asked.append((key, value)),
            add_provider_for_devices=lambda found, chosen: self.asked.append((found, chosen)),
        )

    def InferenceSession(self, model, options, *, providers, enable_fallback) -> Session:  # noqa: N802
        assert enable_fallback == 0
        self.asked.append((model, providers))
        return self.session

    def register_execution_provider_library(self, name: str, path: str) -> None:
        self.plugins.append((name, path))

    def get_ep_devices(self) -> list[SimpleNamespace]:
        return self.devices


@pytest.fixture
def made_up(monkeypatch) -> MadeUp:
    runtime = MadeUp()
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    plugin = SimpleNamespace(get_library_path=lambda: "/plugin.so")
    monkeypatch.setitem(sys.modules, str(TENSORRT_RTX.plugin), plugin)
    return runtime


def opened(provider: Provider, device: FakeDevice | None = None):
    return open_session(b"model", provider, device or FakeDevice("cuda:1", stream=4711), None)


@pytest.mark.parametrize("provider", [CUDA, TENSORRT])
def test_a_provider_gets_the_gpu_and_the_stream_of_the_device(made_up, provider) -> None:
    made_up.session = Session(
        [provider.name, CPU.name], {provider.name: ["Conv"], CPU.name: ["Shape"]}
    )
    assert opened(provider) is made_up.session
    model, ((name, options),) = made_up.asked[-1]
    assert (model, name) == (b"model", provider.name)
    assert (options["device_id"], options["user_compute_stream"]) == ("1", "4711")


def test_a_plugin_is_registered_once_and_gets_the_gpu_and_the_stream(made_up) -> None:
    name = TENSORRT_RTX.name
    made_up.session = Session([name, CPU.name], {name: ["Conv"]})
    opened(TENSORRT_RTX)
    opened(TENSORRT_RTX)
    assert made_up.plugins == [(name, "/plugin.so")]
    (found,), options = made_up.asked[-2]
    assert (found.number, options["user_compute_stream"]) == (1, "4711")
    with pytest.raises(EngineError, match="finds 2 GPUs that it can use, cuda:2 is not one"):
        opened(TENSORRT_RTX, FakeDevice("cuda:2"))


@pytest.mark.parametrize("provider", GPUS)
def test_a_provider_that_did_not_load_is_refused_quietly(made_up, provider, capfd) -> None:
    made_up.session = Session([CPU.name], {CPU.name: ["Conv"]})
    with pytest.raises(EngineError, match=f"{provider.name} did not load"):
        opened(provider)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("provider", GPUS)
@pytest.mark.parametrize(
    ("left", "told"),
    [
        (["Conv", "Shape", "Conv"], r"leaves 2 nodes to the processor \(2 Conv\)"),
        (["Gather", "com.microsoft:GroupNorm"], r"leaves 1 nodes .* \(1 GroupNorm\)"),
    ],
)
def test_nodes_that_are_left_to_the_processor_are_refused(made_up, provider, left, told) -> None:
    made_up.session = Session([provider.name, CPU.name], {provider.name: ["Conv"], CPU.name: left})
    with pytest.raises(EngineError, match=told):
        opened(provider)


def test_a_missing_library_of_a_provider_is_named(made_up, tmp_path) -> None:
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "libonnxruntime_providers_cuda.so").write_bytes(b"no library")
    made_up.__file__ = str(tmp_path / "__init__.py")
    with pytest.raises(EngineError, match=r"did not load \(.*libonnxruntime_providers_cuda.so.*\)"):
        opened(CUDA)


def test_a_missing_plugin_is_named_with_how_to_get_it(made_up, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, str(TENSORRT_RTX.plugin), None)
    with pytest.raises(EngineError, match="_rtx is not installed: pip install onnxruntime-ep-nv"):
        opened(TENSORRT_RTX)


def test_an_onnxruntime_for_processors_says_which_wheel_is_needed() -> None:
    if CUDA.name in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(EngineError, match=r"built without CUDAExecutionProvider: pip uninstall"):
        require(CUDA)


@pytest.mark.parametrize("provider", GPUS)
def test_a_missing_onnxruntime_names_the_extra(provider, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError, match="onnxruntime is not installed: pip install"):
        require(provider)


def test_onnxruntime_itself_records_who_runs_which_node() -> None:
    """What `open_session` relies on, with the real one on the processor."""
    from mrct_runtime.demonstration import demonstration_bundle

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    model = (demonstration_bundle("em") / "model.onnx").read_bytes()
    session = onnxruntime.InferenceSession(model, options, providers=[CPU.name])
    with pytest.raises(EngineError, match=r"leaves \d+ nodes to the processor \(46 Conv"):
        onnxruntime_providers._check_assignment(session, CUDA)
