"""Backends that fail in every way that an installation can."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import NoReturn

from mrct_runtime.engines import Backend
from mrct_runtime.engines.onnxruntime import open_cpu
from mrct_runtime.engines.wrapped import WrappedEngine
from mrct_runtime.errors import EngineError


def absent(_network, _target) -> NoReturn:
    raise EngineError("nonesuch is not installed: pip install 'mrct[nonesuch]'")


def raising(_network, _target) -> NoReturn:
    raise RuntimeError("undefined symbol:\n  _Zsomething")


def leaving(_network, _target) -> NoReturn:
    os.write(2, b"loading\nlibrary version mismatch\n")
    os._exit(3)


def crashing(_network, _target) -> NoReturn:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def hanging(_network, _target) -> NoReturn:
    while True:
        time.sleep(1)


def chattering(network, target):
    """A sound one that prints where an answer would be."""
    sys.stdout.write('{"value": "not an answer"}\n')
    os.write(1, b'{"value": "nor is this"}\n')
    return open_cpu(network, target)


def wrong(network, target):
    """An engine that computes something else than the network."""
    engine = open_cpu(network, target)
    return WrappedEngine(engine, lambda denoise: lambda x, t: 1.01 * denoise(x, t))


class _NoMemory:
    """An engine whose device is full once a batch is larger than one."""

    def __init__(self, inner) -> None:
        self._inner = inner
        self.device, self.max_batch = inner.device, inner.max_batch
        self.backend = Backend("small", "cpu", "fp32")

    def bind(self, cond):
        from mrct_runtime.errors import DeviceMemoryError

        if cond.size > 4 * 8 * 8:
            raise DeviceMemoryError("cpu has too little memory")
        return self._inner.bind(cond)

    def close(self) -> None:
        self._inner.close()


def small(network, target):
    return _NoMemory(open_cpu(network, target))
