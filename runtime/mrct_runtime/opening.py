"""An engine that is opened while something else is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TypeAlias

from mrct_runtime.engines import Engine

Tell: TypeAlias = Callable[[str], None]


@contextmanager
def opening(open_engine: Callable[[Tell], Engine], tell: Tell) -> Iterator[Callable[[], Engine]]:
    """A call that hands over what `open_engine` has been opening in a thread since the block began; who calls closes it.

    The call raises what the opening raised. What the opening tells before the call is told at the call, what it tells later
    at once. An engine that nobody asked for is closed where the block ends.
    """
    told = _Held(tell)
    with ThreadPoolExecutor(1, "mrct-opening") as thread:
        opened, taken = thread.submit(open_engine, told), False

        def take() -> Engine:
            nonlocal taken
            told.release()
            engine = opened.result()
            taken = True
            return engine

        try:
            yield take
        finally:
            if not taken and opened.exception() is None:
                opened.result().close()


class _Held:
    """Lines of one thread in their order: kept until the other releases them, then told at once."""

    def __init__(self, tell: Tell) -> None:
        self._tell, self._lock, self._held = tell, Lock(), True
        self._lines: list[str] = []

    def __call__(self, line: str) -> None:
        with self._lock:
            if self._held:
                self._lines.append(line)
            else:
                self._tell(line)

    def release(self) -> None:
        with self._lock:
            self._held = False
            for line in self._lines:
                self._tell(line)
