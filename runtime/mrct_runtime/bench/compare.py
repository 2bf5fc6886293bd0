"""Two measurements side by side: ratios, and what about the machines makes them worth less."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mrct_runtime.bench.document import SCHEMA
from mrct_runtime.errors import UsageError

_CONDITIONS: Final = (
    *(("machine", "processor"), ("machine", "instructions"), ("machine", "cores")),
    *(("gpus",), ("driver",), ("versions",), ("bundle", "model_sha256"), ("bundle", "size")),
    *(("slice_plan", "sampler"), ("slice_plan", "options"), ("slice_plan", "mc")),
)


@dataclass(frozen=True)
class Change:
    """What was measured both times: `ratio` above 1 is faster than before. batch None is a whole slice."""

    candidate: str
    batch: int | None
    before_ms: float
    now_ms: float

    @property
    def ratio(self) -> float:
        """How many times as fast it is now."""
        return self.before_ms / self.now_ms


class _Row(BaseModel):
    """What is compared of a row, in exactly these types."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

    candidate: str


class _Evaluation(_Row):
    batch: int
    p50_ms: Annotated[float, Field(gt=0)]


class _Slice(_Row):
    seconds: Annotated[float, Field(gt=0)]


class _Gpu(BaseModel):
    name: str


class _Measurement(BaseModel):
    evaluations: list[_Evaluation]
    slices: list[_Slice]
    gpus: list[_Gpu] | None = None


def check(old: Any, source: str) -> None:
    """UsageError where the document is none of this version, or lacks what is compared: before minutes are measured."""
    if not isinstance(old, dict) or old.get("schema") != SCHEMA:
        raise UsageError(f"{source} is no measurement of this version of `mrct bench`")
    try:
        _Measurement.model_validate(old)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise UsageError(f"{source} is no measurement: {place}: {fault['msg']}") from error


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """A change for everything that stands in both documents, in the order of the new one."""
    before = dict(_figures(old))
    return [
        Change(*key, before_ms=before[key], now_ms=now)
        for key, now in _figures(new)
        if key in before
    ]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between the two that a ratio would hide, a line each."""
    found = []
    for place in _CONDITIONS:
        before, now = _at(old, place), _at(new, place)
        if place == ("gpus",):  # free memory changes from minute to minute
            before, now = ([gpu["name"] for gpu in gpus or []] for gpus in (before, now))
        if before != now:
            found.append(f"{' '.join(place)}: {_shown(before)} then, {_shown(now)} now")
    return found


def _figures(document: Mapping[str, Any]) -> Iterator[tuple[tuple[str, int | None], float]]:
    for row in document["evaluations"]:
        yield (row["candidate"], row["batch"]), row["p50_ms"]
    for row in document["slices"]:
        yield (row["candidate"], None), 1e3 * row["seconds"]


def _at(document: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    value: Any = document
    for key in place:
        value = value.get(key) if isinstance(value, Mapping) else None
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    match value:
        case dict():
            return ", ".join(f"{name} {each}" for name, each in value.items()) or "none"
        case list():
            return ", ".join(map(str, value)) or "none"
        case _:
            return "none" if value is None else str(value)
