"""The part of a list that one of several equal processes takes, and which part the scheduler has given this one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeVar

from mrct_runtime.errors import UsageError

_WRITTEN: Final = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")
# These tell a task its index and not how many there are.
_WITHOUT_A_COUNT: Final = ("PBS_ARRAY_INDEX", "PBS_ARRAYID", "LSB_JOBINDEX")

Item = TypeVar("Item")


@dataclass(frozen=True, order=True)
class Shard:
    """The `index`-th of `count` parts, from 1 on."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise UsageError(
                f"shard {self.index}/{self.count} is none: the first number goes from 1 to the second"
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """That written as i/n."""
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise UsageError(f"a shard is written i/n, such as 1/8, got {text!r}")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of_task(cls, environment: Mapping[str, str]) -> Self:
        """That of this task of an array of Slurm or Grid Engine, 1/1 outside of any.

        UsageError within an array that does not say how many tasks it has.
        """
        if "SLURM_ARRAY_TASK_ID" in environment:
            return cls._slurm(environment)
        if environment.get("SGE_TASK_ID", "undefined") != "undefined":
            return cls._grid_engine(environment)
        for name in _WITHOUT_A_COUNT:
            # LSF has index 0 outside of an array
            if environment.get(name, "0") != "0":
                raise UsageError(
                    f"{name} tells this task's index, and nothing how many there are: give --shard ${name}/N"
                )
        return cls()

    @classmethod
    def _slurm(cls, environment: Mapping[str, str]) -> Self:
        first = _number(environment, "SLURM_ARRAY_TASK_MIN")
        step = _number(environment, "SLURM_ARRAY_TASK_STEP", 1)
        count = _number(environment, "SLURM_ARRAY_TASK_COUNT")
        return cls._placed("SLURM_ARRAY_TASK_ID", environment, first, step, count)

    @classmethod
    def _grid_engine(cls, environment: Mapping[str, str]) -> Self:
        first = _number(environment, "SGE_TASK_FIRST")
        step = _number(environment, "SGE_TASK_STEPSIZE", 1)
        count = (_number(environment, "SGE_TASK_LAST") - first) // max(step, 1) + 1
        return cls._placed("SGE_TASK_ID", environment, first, step, count)

    @classmethod
    def _placed(
        cls, name: str, environment: Mapping[str, str], first: int, step: int, count: int
    ) -> Self:
        """The shard of the task `name`; UsageError where the array's indices have holes, such as 1,2,7."""
        place, rest = divmod(_number(environment, name) - first, max(step, 1))
        if rest or not 0 <= place < count:
            raise UsageError(
                f"{name} is {environment[name]}, in an array of {count} tasks from {first} in steps of {step}: give --shard"
            )
        return cls(place + 1, count)

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Every count-th item from the index-th on: parts whose sizes differ by one at most.

        An item's part depends on those before it. A hash of the item alone would not, but of 8 items over 2 parts it gives
        one part six or more in three cases of ten, and the largest part is what everybody waits for.
        """
        return list(items[self.index - 1 :: self.count])


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal():
        raise UsageError(f"{name} is {text!r}, not a number: give --shard i/n")
    return int(text)
