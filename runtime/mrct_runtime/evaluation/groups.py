"""Groups of subjects that are reported apart, and what runs are worth over each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from mrct_runtime.errors import UsageError
from mrct_runtime.evaluation.bootstrap import Bootstrap
from mrct_runtime.evaluation.results import (
    EVERYONE,
    METRICS,
    OTHERS,
    Interval,
    Overall,
    SubjectScores,
)


def parse_groups(texts: Sequence[str]) -> dict[str, str]:
    """Label -> pattern of names, from texts LABEL=PATTERN, or PATTERN alone, which is its own label."""
    groups: dict[str, str] = {}
    for text in texts:
        label, _, pattern = text.rpartition("=")
        label = label or pattern
        if not pattern or label in {EVERYONE, OTHERS} or label in groups:
            raise UsageError(
                f"group {text!r}: needs LABEL=PATTERN with a label of its own, "
                f"other than {EVERYONE} and {OTHERS}"
            )
        groups[label] = pattern
    return groups


def group_of(subject: str, groups: Mapping[str, str]) -> str:
    """The label of the first pattern that the name fits."""
    rest = OTHERS if groups else EVERYONE
    return next((label for label, pattern in groups.items() if fnmatchcase(subject, pattern)), rest)


def members(subjects: Iterable[str], groups: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Label -> its subjects; the group of all first, no group empty. UsageError for a named one that would be."""
    found: dict[str, list[str]] = {label: [] for label in (EVERYONE, *groups, OTHERS)}
    for subject in subjects:
        found[EVERYONE].append(subject)
        if groups:
            found[group_of(subject, groups)].append(subject)
    for label, pattern in groups.items():
        if not found[label]:
            raise UsageError(
                f"group {label!r}: no subject fits {pattern!r}, or an earlier group has all that do; "
                "mend the pattern or leave the group out"
            )
    return {label: tuple(names) for label, names in found.items() if names}


def overall(
    subjects: Sequence[SubjectScores],
    groups: Mapping[str, tuple[str, ...]],
    bootstrap: Bootstrap,
) -> dict[str, Overall]:
    """Group -> the mean of every measure over its subjects, with intervals."""
    found = {}
    for label, names in groups.items():
        chosen = [scores for scores in subjects if scores.subject in names]
        found[label] = Overall(
            subjects=len(chosen),
            single=_intervals([scores.single for scores in chosen], bootstrap),
            mean=_intervals([scores.mean for scores in chosen], bootstrap),
            mean_std_hu=_interval([scores.mean_std_hu for scores in chosen], bootstrap),
            paper_std=_interval([scores.paper_std for scores in chosen], bootstrap),
        )
    return found


def _intervals(scores: Sequence[Mapping[str, float]], bootstrap: Bootstrap) -> dict[str, Interval]:
    intervals = {
        name: _interval([each.get(name) for each in scores], bootstrap) for name in METRICS
    }
    return {name: interval for name, interval in intervals.items() if interval is not None}


def _interval(values: Sequence[float | None], bootstrap: Bootstrap) -> Interval | None:
    """Over the subjects that have the measure; None where none has."""
    existing = [value for value in values if value is not None]
    return bootstrap.interval(existing) if existing else None
