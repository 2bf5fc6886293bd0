"""The settings at which tuning tries a sampler, and the one that it holds them against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mrct_runtime.bundle import Bundle
from mrct_runtime.errors import UsageError
from mrct_runtime.process import DDPM, Direct
from mrct_runtime.samplers import SAMPLERS, adapts, sampler, sampler_class
from mrct_runtime.samplers.checks import check_family

TOLERANCES: Final = (0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4)
"""What is tried of a sampler that takes as many evaluations as its tolerance asks for."""

_FINEST: Final = {"rtol": 1e-5, "atol": 1e-5, "steps": 10_000}


@dataclass(frozen=True)
class Ladder:
    """A sampler with the options of its reference and of what is tried, over those of its preset."""

    sampler: str
    reference: Mapping[str, Any]
    rungs: tuple[Mapping[str, Any], ...]


def ladders(
    bundle: Bundle, names: Sequence[str], steps: Sequence[int], reference: int
) -> tuple[Ladder, ...]:
    """Those of the named samplers, or of all that serve the bundle where none is named.

    `steps` are evaluations a sample, `reference` those of the long run that they are held against. Settings that a
    sampler refuses, such as an odd number of evaluations of pc, are left out. UsageError where none is left, and for a
    direct network, which has nothing to tune.
    """
    if isinstance(bundle.process, Direct):
        raise UsageError(f"{bundle.manifest.name} is a direct network: it has no steps to tune")
    for name in names:
        check_family(sampler_class(name), bundle.process)
    serving = [name for name, kind in SAMPLERS.items() if isinstance(bundle.process, kind.families)]
    return tuple(
        _ladder(bundle, name, steps, reference) for name in dict.fromkeys(names) or serving
    )


def _ladder(bundle: Bundle, name: str, steps: Sequence[int], reference: int) -> Ladder:
    if adapts(name):
        cap = sampler(name).steps
        tolerances = ({"rtol": each, "atol": each, "steps": cap} for each in TOLERANCES)
        return Ladder(name, _FINEST, tuple(tolerances))
    longest = reference
    if isinstance(bundle.process, DDPM):
        longest = min(reference, bundle.process.steps)
    try:
        _check(bundle, name, {"steps": longest})
    except UsageError as error:
        raise UsageError(
            f"sampler {name} cannot make its reference of {longest} evaluations: {error}"
        ) from error
    rungs = tuple({"steps": each} for each in sorted(set(steps)) if each < longest)
    accepted = tuple(each for each in rungs if _accepted(bundle, name, each))
    if not accepted:
        tried = ", ".join(map(str, steps))
        raise UsageError(
            f"sampler {name} takes none of the steps {tried} that are below the reference's {longest}; "
            "change --steps or leave it out of --samplers"
        )
    return Ladder(name, {"steps": longest}, accepted)


def _check(bundle: Bundle, name: str, options: Mapping[str, Any]) -> None:
    sampler(name, bundle.preset(name) | dict(options)).check(bundle.process)


def _accepted(bundle: Bundle, name: str, options: Mapping[str, Any]) -> bool:
    try:
        _check(bundle, name, options)
    except UsageError:
        return False
    return True
