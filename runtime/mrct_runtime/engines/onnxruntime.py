"""ONNX Runtime: on the CPU, or on a GPU through one of its providers."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from mrct_runtime.arrays import Array, Denoiser, Time
from mrct_runtime.device import HOST, Device
from mrct_runtime.engines import Backend
from mrct_runtime.engines.target import Network, Target
from mrct_runtime.errors import EngineError


def open_cpu(network: Network, target: Target) -> OnnxRuntime:
    """The network on the CPU, by `target.threads` threads."""
    return OnnxRuntime(network.model, threads=target.threads, precision=network.precision)


class OnnxRuntime:
    """A network in ONNX: eps(x, y, t) or x0(y), images [B, 1, H, W] and t [B], all float32.

    `threads` defaults to the cores that this process may use.
    """

    def __init__(
        self,
        model: bytes,
        *,
        threads: int | None = None,
        max_batch: int = 64,
        precision: str = "fp32",
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            message = "onnxruntime is not installed: pip install 'mrct[cpu]'"
            raise EngineError(message) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no public base
            raise EngineError(
                f"ONNX Runtime cannot load the model: {_first_line(error)}"
            ) from error
        self.device: Device = HOST
        self.backend = Backend("onnxruntime", self.device.name, precision, threads)
        self.max_batch = max_batch
        self._bound: _Bound | None = None

    def bind(self, cond: Array) -> Denoiser:
        """The network for the condition [B, 1, H, W]; buffers are kept between conditions of one shape."""
        if cond.ndim != 4 or cond.shape[1] != 1 or cond.shape[0] > self.max_batch:
            raise EngineError(
                f"the condition must be [B, 1, H, W] with B up to {self.max_batch}, got {list(cond.shape)}"
            )
        if self._session is None:
            raise EngineError("this engine is closed; open another one")
        if self._bound is None or self._bound.y.shape != cond.shape:
            self._bound = _Bound(self._session, cond.shape)
        np.copyto(self._bound.y, cond, casting="same_kind")
        return self._bound

    def close(self) -> None:
        """Drop the session and its buffers."""
        if self._bound is not None:
            self._bound.release()
        self._bound = self._session = None


class _Bound:
    """One binding of buffers to a session; it owns every buffer, because ONNX Runtime keeps bare pointers."""

    def __init__(self, session: Any, shape: tuple[int, ...]) -> None:
        self._session = session
        self.x, self.y, self.out = (np.zeros(shape, np.float32) for _ in range(3))
        self.t = np.zeros(shape[0], np.float32)
        self._binding = session.io_binding()
        buffers = {"x": self.x, "y": self.y, "t": self.t}
        for name in (value.name for value in session.get_inputs()):
            buffer = buffers[name]
            self._binding.bind_input(name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
        (output,) = session.get_outputs()
        self._binding.bind_output(output.name, "cpu", 0, np.float32, shape, self.out.ctypes.data)

    def release(self) -> None:
        """Let go of the session; a denoiser that outlives its engine does not keep the network."""
        self._session = self._binding = None

    def __call__(self, x: Array, t: Time) -> Array:
        np.copyto(self.x, x, casting="same_kind")
        self.t[...] = t
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # ONNX Runtime's exceptions share no public base
            raise EngineError(f"ONNX Runtime failed: {_first_line(error)}") from error
        return self.out


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
