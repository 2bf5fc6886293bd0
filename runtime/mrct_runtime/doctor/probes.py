"""What the doctor asks in a child process, because the answer may be a crash."""

from __future__ import annotations

import time
from typing import Any

from mrct_runtime.bundle import Bundle
from mrct_runtime.engines import register
from mrct_runtime.engines.target import Target
from mrct_runtime.errors import EngineError


class BackendProbe:
    """One backend, at one precision, on the network of one bundle."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self._name, self._precision = asked["backend"], asked["precision"]
        self._opener, self._serves = asked["opener"], asked["serves"]
        self._bundle = Bundle.load(asked["bundle"])

    def run(self) -> dict[str, Any]:
        """Where it runs, how far it is off golden.npz, and what opening and the self-test take, in ms.

        The first self-test belongs to opening; that which is timed is the second.
        """
        register(self._name, self._opener, self._serves)
        target = Target(self._serves, self._name, self._precision)
        started = time.perf_counter()
        engine = self._bundle.open_engine(target)
        opened = time.perf_counter()
        try:
            deviation = self._bundle.self_test(engine)
            ended = time.perf_counter()
            return {
                "device": engine.backend.device,
                "deviation": deviation,
                "open_ms": 1e3 * (opened - started),
                "self_test_ms": 1e3 * (ended - opened),
            }
        finally:
            engine.close()


class Providers:
    """ONNX Runtime's providers: those that it lists, and whether one loads a network."""

    def __init__(self, bundle: str) -> None:
        self._bundle = bundle

    @staticmethod
    def listed() -> list[str]:
        """Those that this build of ONNX Runtime says it has."""
        import onnxruntime

        names: list[str] = onnxruntime.get_available_providers()
        return names

    def load(self, provider: str) -> None:
        """Loads the bundle's network by this provider; EngineError where another took its place."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        model = Bundle.load(self._bundle).network("fp32")
        session = onnxruntime.InferenceSession(model, options, providers=[provider])
        if provider not in session.get_providers():
            taken = ", ".join(session.get_providers())
            raise EngineError(f"listed, but it does not load: {taken} took its place")
