"""TensorRT in its two modules, `tensorrt` and `tensorrt_rtx`: the same interface, other limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from mrct_runtime.errors import DeviceMemoryError, EngineError

_OUT_OF_MEMORY: Final = re.compile(
    r"out of memory|OutOfMemory|allocation failed|bad_alloc", re.IGNORECASE
)
_NUMBER: Final = re.compile(r"SM(\d+)(\d)")


@dataclass(frozen=True)
class Flavour:
    """One of the two: the backend's name, its own, its module, how that is installed, and the oldest version taken.

    One that is `portable` builds without a GPU, for any of the compute capabilities that it knows.
    """

    backend: str
    title: str
    module: str
    extra: str
    oldest: tuple[int, int]
    portable: bool


RTX: Final = Flavour("tensorrt-rtx", "TensorRT-RTX", "tensorrt_rtx", "mrct[rtx]", (1, 3), True)
TENSORRT: Final = Flavour("tensorrt", "TensorRT", "tensorrt", "mrct[tensorrt]", (10, 12), False)


class Library:
    """A flavour's module, and what it said last that was wrong; EngineError where it is not there or too old."""

    def __init__(self, flavour: Flavour) -> None:
        self.flavour = flavour
        try:
            self.trt: Any = import_module(flavour.module)
        except ImportError as error:
            raise EngineError(
                f"{flavour.module} is not installed: pip install '{flavour.extra}'"
            ) from error
        except OSError as error:  # one of its own libraries
            raise EngineError(
                f"{flavour.module} does not load ({error}): pip install '{flavour.extra}'"
            ) from error
        self.version: str = self.trt.__version__
        if tuple(int(part) for part in self.version.split(".")[:2]) < flavour.oldest:
            oldest = ".".join(map(str, flavour.oldest))
            raise EngineError(
                f"{flavour.module} {self.version} is too old, {oldest} is needed: pip install -U '{flavour.extra}'"
            )
        self._errors: list[str] = []
        self.log: Any = _listener(self.trt, self._errors)

    def __str__(self) -> str:
        """TensorRT 11.4."""
        return f"{self.flavour.title} {self.version}"

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The compute capabilities that engines can be built for without such a GPU, as 8.9."""
        if not self.flavour.portable:
            return ()
        names = getattr(self.trt, "ComputeCapability", None)
        found = map(_NUMBER.fullmatch, names.__members__ if names is not None else ())
        return tuple(f"{number[1]}.{number[2]}" for number in found if number is not None)

    def check_gpu(self, capability: str, gpu: str) -> None:
        """EngineError where a GPU of this compute capability is not served."""
        if self.flavour.portable and capability not in self.capabilities:
            raise EngineError(
                f"{self} does not support compute capability {capability} ({gpu}), only "
                f"{', '.join(self.capabilities)}; take --backend onnxruntime-cuda"
            )

    def made(self, kind: str) -> Any:
        """A new Builder or Runtime; EngineError where there is none to be had."""
        try:
            return getattr(self.trt, kind)(self.log)
        except TypeError as error:  # what the bindings make of a null pointer
            raise self.failure(f"make a {kind.lower()}") from error

    def forget(self) -> None:
        """Drops what was said so far: what fails from here on has another reason."""
        self._errors.clear()

    def failure(self, what: str) -> EngineError:
        """The error that says what was tried in vain and what TensorRT says about it, in one line."""
        told = self._errors[0] if self._errors else "it does not say why"
        memory = next((line for line in self._errors if _OUT_OF_MEMORY.search(line)), None)
        self._errors.clear()
        if memory is not None:
            return DeviceMemoryError(f"{self} has too little memory to {what}: {memory}")
        return EngineError(f"{self} cannot {what}: {told}")


def _listener(trt: Any, errors: list[str]) -> Any:
    """A logger that keeps the first line of every error, and says nothing itself."""
    grave = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

    class Listener(trt.ILogger):  # type: ignore[misc]  # the module has no types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # the bindings ask for their own, not for super()'s

        def log(self, severity: Any, message: str) -> None:
            if severity in grave:
                errors.append(" ".join(message.split()))

    return Listener()
