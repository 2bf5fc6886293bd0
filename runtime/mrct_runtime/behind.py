"""Work that follows behind: calls in a thread of their own, while the thread that asks for them goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Behind:
    """Calls that are made one after the other in one thread; at most `most` are under way, then the asker waits.

    What a call raises is raised where a later one is asked for, or where the block ends, which waits for all. A block
    that is left by an error makes none of the calls that have not begun.
    """

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._calls: deque[Future[None]] = deque()
        self._thread = ThreadPoolExecutor(1, "mrct-behind")

    def __call__(self, call: Callable[[], None]) -> None:
        """Asks for one more call."""
        while self._calls and (len(self._calls) >= self._most or self._calls[0].done()):
            self._calls.popleft().result()
        self._calls.append(self._thread.submit(call))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(cancel_futures=kind is not None)
        while kind is None and self._calls:
            self._calls.popleft().result()
