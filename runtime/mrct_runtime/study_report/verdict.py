"""The verdict on a result: the worst of its checks, in words that a reader understands at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from mrct_runtime.study_report.checks import Check, Level

_WORDS: Final[Mapping[Level, tuple[str, str]]] = MappingProxyType(
    {
        Level.FINE: (
            "Looks usable for research",
            "Every check passed. They cannot see everything: look at the pictures.",
        ),
        Level.LOOK: (
            "Look closely",
            "Something asks for your judgement before you use this image.",
        ),
        Level.NOT_FOR_PATIENTS: (
            "Not for patients",
            "Use it to see how mrct works, and for nothing else.",
        ),
        Level.DISTRUST: ("Do not trust", "This image is probably wrong."),
    }
)


@dataclass(frozen=True)
class Verdict:
    """The level, what it is called, what it means, and the reasons, the worst first."""

    level: Level
    headline: str
    meaning: str
    reasons: tuple[str, ...]


def verdict(found: Sequence[Check]) -> Verdict:
    """That of the worst check; notes are no reason for doubt."""
    doubts = [check for check in found if check.level > Level.NOTE]
    level = max((check.level for check in doubts), default=Level.FINE)
    reasons = tuple(check.why for check in sorted(doubts, key=lambda check: -check.level))
    return Verdict(level, *_WORDS[level], reasons)
