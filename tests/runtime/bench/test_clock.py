import sys
from types import SimpleNamespace

import pytest

from mrct_runtime.bench.clock import CudaClock, HostClock


class _Event:
    clock = 0.0

    def record(self, stream):
        self.stream = stream
        _Event.clock += 250.0
        self.at = _Event.clock


@pytest.fixture
def cupy(monkeypatch):
    """As much of CuPy as the clock asks for; every event comes 250 ms after the last."""
    waited = []
    stream = SimpleNamespace(synchronize=lambda: waited.append(True))
    used = []
    cuda = SimpleNamespace(
        Device=lambda number: SimpleNamespace(use=lambda: used.append(number)),
        Event=_Event,
        ExternalStream=lambda address: SimpleNamespace(
            address=address, synchronize=stream.synchronize
        ),
        Stream=SimpleNamespace(null=stream),
        get_elapsed_time=lambda a, b: b.at - a.at,
    )
    module = SimpleNamespace(cuda=cuda, waited=waited, used=used)
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def test_device_time_is_that_between_events_in_the_given_stream(cupy):
    clock = CudaClock(77, 1)
    assert cupy.used == [1]
    first, second = clock.mark(), clock.mark()
    assert not cupy.waited, "a mark must not make the host wait"
    clock.finish()
    assert cupy.waited
    assert first.stream.address == 77
    assert clock.between(first, second) == 0.25


def test_without_a_stream_it_is_the_default_one(cupy):
    assert CudaClock(0).mark().stream is cupy.cuda.Stream.null


def test_the_host_s_clock_goes_forward():
    first = HostClock.mark()
    assert HostClock.between(first, HostClock.mark()) >= 0
