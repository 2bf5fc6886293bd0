"""Which backend runs a bundle's network: the one that is asked for, or the first that loads and passes the self-test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from mrct_runtime.cuda import why_not
from mrct_runtime.engines import ENGINES, Engine, opener
from mrct_runtime.engines.target import Network, Precision, Target
from mrct_runtime.errors import EngineError, NumericError, UsageError

if TYPE_CHECKING:
    from mrct_runtime.bundle import Bundle


def open_engine(bundle: Bundle, target: Target, tell: Callable[[str], None]) -> Engine:
    """The bundle's network where `target` says, after it has reproduced golden.npz there.

    What is named (a device, a backend, a precision) is taken or refused with EngineError. What is left open is the
    first of ENGINES that can be opened and evaluates, its graph fused where it can do that and the fused one passes the self-test;
    `tell` is told in one line why not an earlier one. NumericError where a backend computes something else than the
    trained network.
    """
    refused: list[str] = []
    for name, candidate in _candidates(target, refused):
        network = replace(network_of(bundle, _precision(bundle, candidate)), tell=tell)
        engine = None
        if candidate.fuse:
            engine = _fused(bundle, name, network, candidate, refused)
        if engine is None:
            engine = _plain(bundle, name, network, replace(candidate, fuse=False), refused)
        if engine is not None:
            if refused:
                tell(f"running on {engine.backend.device} by {name} ({'; '.join(refused)})")
            return engine
    raise EngineError(refused[0] if len(refused) == 1 else f"no engine: {'; '.join(refused)}")


def _fused(
    bundle: Bundle, name: str, network: Network, target: Target, refused: list[str]
) -> Engine | None:
    """The engine of a fused graph; None where that cannot be had, fails or computes something else."""
    try:
        return _tested(bundle, opener(name)(network, target))
    except (EngineError, NumericError) as error:
        refused.append(f"{name} with its graph fused: {error}")
        return None


def _plain(
    bundle: Bundle, name: str, network: Network, target: Target, refused: list[str]
) -> Engine | None:
    """The engine of the graph as it is; None where it cannot be opened, or fails at its first evaluation."""
    try:
        return _tested(bundle, opener(name)(network, target))
    except EngineError as error:
        if refused and refused[-1] == f"{name} with its graph fused: {error}":
            refused.pop()
        refused.append(f"{name}: {error}")
        return None


def _tested(bundle: Bundle, engine: Engine) -> Engine:
    """The engine, after its self-test; closed where it does not pass."""
    try:
        bundle.self_test(engine)
    except BaseException:
        engine.close()
        raise
    return engine


def check_device(target: Target) -> None:
    """EngineError where a GPU is asked for that cannot be used: nothing falls back to another device."""
    if target.gpu is not None and (reason := why_not(target.gpu)):
        raise EngineError(f"--device {target.device} cannot be had: {reason}; or take --device cpu")


def expects_gpu(target: Target) -> bool:
    """Whether the backend that is tried first runs on a GPU."""
    if target.backend in ENGINES:
        return ENGINES[target.backend].serves == "cuda"
    return target.gpu is not None or (target.device == "auto" and why_not() is None)


def _candidates(target: Target, refused: list[str]) -> Iterator[tuple[str, Target]]:
    """The backends that may serve, best first, each with the device that it would get."""
    if target.backend is not None:
        opener(target.backend)
        entry = ENGINES[target.backend]
        settled = _on(target, entry.serves)
        check_device(settled)
        yield target.backend, replace(settled, fuse=target.fuse and entry.fuses)
        return
    check_device(target)
    kinds = ("cuda", "cpu") if target.device == "auto" else (target.device.partition(":")[0],)
    for kind in kinds:
        if kind == "cuda" and target.device == "auto" and (reason := why_not()):
            refused.append(reason)
            continue
        for name, entry in ENGINES.items():
            if entry.serves == kind and entry.automatic:
                settled = _on(target, kind)
                yield name, replace(settled, fuse=target.fuse and entry.fuses)


def network_of(bundle: Bundle, precision: Precision) -> Network:
    """The bundle's graph at this precision; UsageError where it has none."""
    image, opset = bundle.manifest.image, bundle.manifest.opset
    batch, _, height, width = bundle.golden.output.shape
    return Network(bundle.network(precision), precision, image.size, opset, (batch, height, width))


def _on(target: Target, kind: str) -> Target:
    """The target with its device settled; UsageError where the backend that is named serves another kind."""
    asked = target.device.partition(":")[0]
    if asked not in {"auto", kind}:
        raise UsageError(
            f"the backend {target.backend} runs on {kind}, not on {target.device}: change one of them"
        )
    return replace(target, device=kind) if asked == "auto" else target


def _precision(bundle: Bundle, target: Target) -> Precision:
    if target.precision is not None:
        return target.precision
    return "fp16" if target.gpu is not None and "fp16" in bundle.precisions else "fp32"
