"""The GPU as a device: on a real one where there is one, and its calls in order on a CuPy that is made up."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from fake_device import FakeArray
from sampler_oracles import PAIRS

from mrct_runtime import cuda as cuda_module
from mrct_runtime.cuda import Cuda
from mrct_runtime.device import HOST, Device
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.errors import EngineError
from mrct_runtime.noise import Noise
from mrct_runtime.samplers import sampler
from mrct_runtime.sampling import Sampling
from mrct_runtime.synthesis import synthesize


class RuntimeFailureError(RuntimeError):
    pass


@pytest.fixture
def stub(monkeypatch):
    """A CuPy that writes down what is asked of it in `calls`."""
    calls: list[str] = []
    current: list = [SimpleNamespace(ptr=0)]

    @contextmanager
    def entered(what: str):
        calls.append(f"enter {what}")
        yield
        calls.append(f"leave {what}")

    class Stream:
        ptr = 4711

        def __init__(self, *, non_blocking: bool) -> None:
            assert non_blocking

        def __enter__(self):
            calls.append("enter stream")
            current.append(self)

        def __exit__(self, *_):
            calls.append("leave stream")
            current.pop()

        def begin_capture(self, mode):
            calls.append(f"begin {mode}")

        def end_capture(self):
            calls.append("end")
            return SimpleNamespace(launch=lambda stream: calls.append(f"launch in {stream.ptr}"))

    class Pool:
        def free_bytes(self) -> int:
            return 7

        def free_all_blocks(self) -> None:
            calls.append("free all blocks")

    runtime = SimpleNamespace(
        streamCaptureModeThreadLocal="thread local",
        CUDARuntimeError=RuntimeFailureError,
        memGetInfo=lambda: (1000, 2000),
    )
    made = SimpleNamespace(
        calls=calls,
        zeros=np.zeros,
        get_default_memory_pool=Pool,
        cuda=SimpleNamespace(
            Device=lambda gpu: entered(f"gpu {gpu}"),
            Stream=Stream,
            get_current_stream=lambda: current[-1],
            runtime=runtime,
            compiler=SimpleNamespace(CompileException=RuntimeFailureError),
        ),
    )
    monkeypatch.setitem(sys.modules, "cupy", made)
    monkeypatch.setattr(cuda_module, "gpus", lambda: ("A GPU", "A GPU"))
    monkeypatch.setattr(cuda_module, "kernel", lambda _: SimpleNamespace(kernel=None))
    return made


def test_everything_runs_on_the_gpu_and_in_the_stream_of_the_device(stub) -> None:
    device = Cuda(1)
    stub.calls.clear()
    with device.running():
        stub.calls.append("work")
    order = ["enter gpu 1", "enter stream", "work", "leave stream", "leave gpu 1"]
    assert stub.calls == order
    assert (device.name, device.stream, device.xp) == ("cuda:1", 4711, stub)


def test_a_capture_calls_once_to_warm_up_and_once_to_record(stub) -> None:
    device = Cuda()
    stub.calls.clear()
    replay = device.capture(lambda: stub.calls.append("work"))
    assert stub.calls[2:-2] == ["work", "begin thread local", "work", "end"]
    stub.calls.clear()
    replay()
    replay()
    assert stub.calls == ["launch in 4711"] * 2


def test_a_capture_that_fails_is_ended_and_tells_its_own_error(stub) -> None:
    device, attempts = Cuda(), iter([None, ZeroDivisionError("while capturing")])

    def work() -> None:
        if (error := next(attempts)) is not None:
            raise error

    with pytest.raises(ZeroDivisionError, match="while capturing"):
        device.capture(work)
    assert "end" in stub.calls


def test_kept_memory_counts_as_free_and_can_be_given_back(stub) -> None:
    device = Cuda()
    assert device.free_memory() == 1007
    device.trim()
    assert "free all blocks" in stub.calls


@pytest.mark.parametrize(
    "failure", [RuntimeFailureError("nvrtc: no\nmore"), ImportError("nvrtc: no")]
)
def test_a_missing_compiler_names_the_extra(stub, monkeypatch, failure) -> None:
    def fails(_name: str):
        raise failure

    monkeypatch.setattr(cuda_module, "kernel", fails)
    with pytest.raises(EngineError, match=r"cannot compile for cuda:0 \(nvrtc: no\): pip install"):
        Cuda()


def test_a_gpu_that_is_not_there_is_refused(stub) -> None:
    with pytest.raises(EngineError, match="cuda:2 cannot be used: there is no cuda:2, the last is"):
        Cuda(2)


def test_an_array_with_gaps_has_no_address_nor_one_whose_work_is_in_another_stream(stub) -> None:
    device = Cuda()
    with device.running(), pytest.raises(EngineError, match=r"an array \[2, 2\] with gaps"):
        device.pointer(np.zeros((2, 4))[:, ::2])
    with pytest.raises(EngineError, match="work on cuda:0 is asked for outside"):
        device.pointer(np.zeros(2))


def test_cupy_has_all_that_is_asked_of_it_and_the_fake_array_nothing_more() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    public = {name for name in vars(FakeArray) if not name.startswith("_")}
    assert public <= set(dir(cupy.ndarray))
    assert "__array_ufunc__" in dir(cupy.ndarray)
    assert not hasattr(cupy.ndarray, "__array_namespace__")
    for name in ("asarray", "copyto", "empty", "isfinite", "maximum", "where", "zeros"):
        assert callable(getattr(cupy, name))
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)
    assert {"begin_capture", "end_capture"} <= set(dir(cupy.cuda.Stream))
    assert {"memGetInfo", "streamCaptureModeThreadLocal"} <= set(dir(cupy.cuda.runtime))
    assert issubclass(cupy.cuda.compiler.CompileException, Exception)


SMALL = {"ode": {"steps": 400, "rtol": 1e-3, "atol": 1e-3}, "direct": {}}


@pytest.mark.gpu
def test_a_gpu_is_a_device(cuda) -> None:
    device: Device = cuda
    assert device.name == "cuda:0"
    assert device.free_memory() > 1 << 20
    assert cuda.model in cuda_module.gpus()
    assert float(cuda.capability) >= 5
    with cuda.running():
        x = cuda.xp.arange(6, dtype="float32").reshape(2, 3)
        assert cuda.xp.cuda.get_current_stream().ptr == cuda.stream != 0
        assert cuda.pointer(x[1:]) == cuda.pointer(x) + 12
        np.testing.assert_array_equal(cuda.to_host(2 * x), 2 * np.arange(6).reshape(2, 3))
        y = 0.5 * x.clip(0, 1) + x**0.5 - 2 * abs(x)
        assert y.dtype == x.mean(axis=1).dtype == np.float32
    assert cuda.xp.cuda.get_current_stream().ptr != cuda.stream


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "process"), PAIRS)
def test_every_sampler_gives_on_a_gpu_what_it_gives_on_the_host(cuda, name, process) -> None:
    built = sampler(name, SMALL.get(name, {"steps": 50}))
    cond = np.random.default_rng(0).random((2, 33, 31))
    plan = Sampling(built, mc=3, batch=4, series="1.2.3")
    here, there = (
        synthesize(Analytic(process, device=device), process, cond, plan) for device in (HOST, cuda)
    )
    np.testing.assert_allclose(there.mean, here.mean, atol=1e-4)
    np.testing.assert_allclose(there.std, here.std, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "process"), [pair for pair in PAIRS if pair[0] not in {"ode", "direct"}]
)
def test_a_whole_loop_is_kernels_alone(cuda, name, process) -> None:
    """CUDA refuses to record what waits or takes memory, and a graph lists the copies in it."""
    shape = (4, 1, 64, 64)
    built = sampler(name, {"steps": 6})
    with cuda.running():
        stream = cuda.xp.cuda.get_current_stream()
        noise = Noise(0, "1", [(0, k) for k in range(4)], shape[2:], cuda.normals)
        x = process.std(1.0) * noise()
        for record in (False, True):
            if record:
                stream.begin_capture(cuda.xp.cuda.runtime.streamCaptureModeThreadLocal)
            built(lambda x, _t: 0.5 * x, process, x, noise)
        graph = stream.end_capture()
    listed = graph.debug_dot_str(1 << 0).upper()
    assert "KERNEL" in listed
    assert "MEMCPY" not in listed
    assert "HOST" not in listed.replace("HOSTNAME", "")


@pytest.mark.gpu
def test_a_captured_function_repeats_on_the_same_buffers(cuda) -> None:
    with cuda.running():
        x, y = cuda.xp.zeros(1000, "float32"), cuda.xp.ones(1000, "float32")
        replay = cuda.capture(lambda: cuda.xp.add(x, y, out=x))
        before = float(cuda.to_host(x)[0])
        replay()
        replay()
        y.fill(10.0)
        replay()
        assert cuda.to_host(x).tolist() == [before + 12] * 1000


@pytest.mark.gpu
def test_another_thread_works_in_the_same_stream(cuda) -> None:
    found: list[int] = []

    def work() -> None:
        with cuda.running():
            found.append(cuda.xp.cuda.get_current_stream().ptr)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [cuda.stream]


@pytest.mark.gpu
def test_too_large_a_batch_on_a_gpu_is_a_memory_error_and_leaves_it_usable(cuda) -> None:
    with cuda.running():
        with pytest.raises(MemoryError):
            cuda.xp.empty(1 << 50, "float32")
        cuda.trim()
        assert float(cuda.to_host(cuda.xp.ones(1))[0]) == 1.0
