"""The doctor's findings: the machine, its GPUs, ONNX Runtime's providers, and a verdict on every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mrct_runtime.bundle import Bundle
from mrct_runtime.child import Child, ask_once
from mrct_runtime.engines import ENGINES
from mrct_runtime.errors import EngineError
from mrct_runtime.machine import (
    Gpu,
    cache_folder,
    driver,
    free_disk,
    gpu_hint,
    machine,
    versions,
)

SECONDS: Final = 180.0
"""How long a backend may take to open: one that builds an engine takes a minute."""


@dataclass(frozen=True)
class Verdict:
    """A backend at a precision: sound, with its deviation from golden.npz, or the reason why not."""

    backend: str
    serves: str
    precision: str
    limit: float
    """The deviation from golden.npz up to which it is sound."""
    reason: str | None = None
    device: str | None = None
    deviation: float | None = None
    open_ms: float | None = None
    self_test_ms: float | None = None

    @property
    def sound(self) -> bool:
        """True where it opened the network and computed what it should."""
        return self.reason is None


@dataclass(frozen=True)
class Provider:
    """A provider that ONNX Runtime lists; `reason` says why it does not load, None where it does."""

    name: str
    reason: str | None = None


@dataclass(frozen=True)
class Examination:
    """All that was found. `gpu_reason` says why CuPy sees no GPU; `gpu_hint` is what nvidia-smi says then.

    `cache_reason` says why there is no place for a cache; None where there is.
    """

    machine: dict[str, Any]
    versions: dict[str, str]
    cache: str | None
    cache_free: int | None
    cache_reason: str | None
    driver: str | None
    gpus: tuple[Gpu, ...]
    gpu_reason: str | None
    gpu_hint: tuple[str, ...]
    providers: tuple[Provider, ...]
    provider_reason: str | None
    bundle: str
    bundle_sha256: str
    verdicts: tuple[Verdict, ...]

    @property
    def sound(self) -> bool:
        """True where at least one backend is."""
        return any(verdict.sound for verdict in self.verdicts)


def examine(
    path: Path, tell: Callable[[str], None] = lambda _: None, seconds: float = SECONDS
) -> Examination:
    """What this machine can run, tried on the bundle at `path`; BundleError where that is not one.

    Everything that may crash or hang is asked in a child process, for `seconds` each. `tell` is told what is tried.
    """
    bundle = Bundle.load(path)
    gpus, gpu_reason = _gpus(seconds)
    providers, provider_reason = _providers(bundle, tell, seconds)
    cache, cache_free, cache_reason = _cache()
    return Examination(
        machine=machine(),
        versions=versions(),
        cache=cache,
        cache_free=cache_free,
        cache_reason=cache_reason,
        driver=driver(),
        gpus=gpus,
        gpu_reason=gpu_reason,
        gpu_hint=() if gpus else tuple(gpu_hint()),
        providers=providers,
        provider_reason=provider_reason,
        bundle=bundle.manifest.name,
        bundle_sha256=bundle.sha256,
        verdicts=tuple(_verdicts(bundle, tell, seconds)),
    )


def _verdicts(bundle: Bundle, tell: Callable[[str], None], seconds: float) -> Iterator[Verdict]:
    for name, entry in ENGINES.items():
        for precision in bundle.precisions:
            tell(f"trying {name} {precision}")
            asked = {
                "backend": name,
                "opener": entry.opener,
                "serves": entry.serves,
                "precision": precision,
                "bundle": str(bundle.path),
            }
            place = (name, entry.serves, precision, bundle.self_test_limit(precision))
            try:
                found = ask_once("mrct_runtime.doctor.probes:BackendProbe", asked, "run", seconds)
            except EngineError as error:
                yield Verdict(*place, reason=str(error))
            else:
                yield Verdict(*place, **found)


def _cache() -> tuple[str | None, int | None, str | None]:
    try:
        folder = cache_folder()
    except EngineError as error:
        return None, None, str(error)
    return str(folder), free_disk(folder), None


def _gpus(seconds: float) -> tuple[tuple[Gpu, ...], str | None]:
    try:
        found = ask_once("mrct_runtime.machine:Gpus", None, "all", seconds)
    except EngineError as error:
        return (), str(error)
    return tuple(Gpu(**gpu) for gpu in found), None if found else "CUDA finds no GPU"


def _providers(
    bundle: Bundle, tell: Callable[[str], None], seconds: float
) -> tuple[tuple[Provider, ...], str | None]:
    maker, path = "mrct_runtime.doctor.probes:Providers", str(bundle.path)
    try:
        names = ask_once(maker, path, "listed", seconds)
    except EngineError as error:
        return (), str(error)
    found = []
    for name in names:
        tell(f"trying ONNX Runtime's {name}")
        with Child(maker, path) as child:
            try:
                child.ask("load", seconds, provider=name)
            except EngineError as error:
                found.append(Provider(name, str(error)))
            else:
                found.append(Provider(name))
    return tuple(found), None
