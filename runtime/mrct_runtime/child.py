"""An object in a process of its own, asked with a time limit: a crash, a hang or a full memory there ends nothing here.

Questions and answers are lines of JSON; a `Payload` is one with bytes behind it. What libraries print in the child goes
to its log, never into an answer.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from mrct_runtime.errors import DeviceMemoryError, EngineError, MrctError
from mrct_runtime.payload import Payload

_LONGEST_REASON: Final = 300
_PIECE: Final = 1 << 16
# What a program needs to start and to find its libraries and folders; secrets have other names.
_NEEDED: Final = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")


class Child:
    """The object that the function `maker`, as module:attribute, makes of `argument` in a new process.

    `environment` has variables that the process gets beside its parent's, of which a `bare` one gets what it needs to
    start.
    """

    def __init__(
        self,
        maker: str,
        argument: Any,
        environment: Mapping[str, str] | None = None,
        *,
        bare: bool = False,
    ) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        # The child has to import what its parent imports.
        path = os.pathsep.join(filter(None, sys.path))
        own = {name: os.environ[name] for name in _NEEDED if name in os.environ}
        self._process = subprocess.Popen(
            # -P: no module is taken from the folder that the command was given in, which may be a stranger's study
            [sys.executable, "-P", "-m", "mrct_runtime.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**(own if bare else os.environ), **(environment or {}), "PYTHONPATH": path},
            start_new_session=True,  # so that its own children end with it
        )
        self._buffer, self._closed = b"", False
        self._tell({"maker": maker, "argument": argument})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, method: str, timeout: float, **arguments: Any) -> Any:
        """What the object's method returns, as JSON has it; EngineError where it raises, ends, or takes too long."""
        return self._answer(method, time.monotonic() + timeout, timeout, arguments)["value"]

    def ask_bytes(
        self, method: str, timeout: float, most: int, **arguments: Any
    ) -> tuple[Any, bytearray]:
        """The value and the bytes of the Payload that the object's method returns, no bytes where it returns another value.

        More bytes than `most` are an EngineError, as all that `ask` refuses.
        """
        deadline = time.monotonic() + timeout
        answer = self._answer(method, deadline, timeout, arguments)
        count = answer.get("bytes", 0)
        if count > most:
            self.close()
            raise EngineError(f"an answer of {count} bytes, more than {most}")
        return answer["value"], self._taken(count, deadline, timeout)

    @property
    def alive(self) -> bool:
        """True as long as it can be asked."""
        return not self._closed and self._process.poll() is None

    def close(self) -> None:
        """End the process and everything that it started."""
        if self._closed:
            return
        self._closed = True
        with suppress(ProcessLookupError):  # it may have ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                with suppress(BrokenPipeError):  # a question that nobody will read
                    pipe.close()

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            return  # the answer will be that it has ended

    def _answer(
        self, method: str, deadline: float, timeout: float, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        self._tell({"method": method, "arguments": arguments})
        while b"\n" not in self._buffer:
            self._buffer += os.read(self._ready(deadline, timeout), _PIECE) or self._ended()
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "reason" in answer:
            kind = DeviceMemoryError if answer["memory"] else EngineError
            raise kind(answer["reason"])
        return answer

    def _taken(self, count: int, deadline: float, timeout: float) -> bytearray:
        """The next bytes of the answers, so many."""
        content = bytearray(count)
        filled = min(count, len(self._buffer))
        content[:filled], self._buffer = self._buffer[:filled], self._buffer[filled:]
        with memoryview(content) as view:
            while filled < count:
                read = os.readv(self._ready(deadline, timeout), [view[filled:]])
                filled += read or self._ended()
        return content

    def _ready(self, deadline: float, timeout: float) -> int:
        """The file to read the answers from, as soon as there is something to read."""
        assert self._process.stdout is not None
        file, left = self._process.stdout.fileno(), deadline - time.monotonic()
        if left <= 0 or not select.select([file], [], [], left)[0]:
            self.close()
            raise EngineError(f"no answer within {timeout:.0f} s")
        return file

    def _ended(self) -> NoReturn:
        raise EngineError(self._why_ended())

    def _why_ended(self) -> str:
        """How the process ended, and the last line that it wrote to its log."""
        code = self._process.wait()
        how = (
            f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"its process {how}{': ' if last else ''}{last[:_LONGEST_REASON]}"


def ask_once(maker: str, argument: Any, method: str, timeout: float) -> Any:
    """The answer to one question, of a process that ends with it."""
    with Child(maker, argument) as child:
        return child.ask(method, timeout)


def main() -> None:
    """Serve the parent until it closes its end."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    made: Any = None
    fault: dict[str, Any] | None = None
    for line in sys.stdin:
        message = json.loads(line)
        if "maker" in message:
            try:
                made = _found(message["maker"])(message["argument"])
            except (Exception, SystemExit) as error:  # noqa: BLE001 - it becomes the answer
                fault = _told(error)
            continue
        answer, content = (fault, b"") if fault else _answer(made, message)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.write(content)
        answers.flush()


def _found(maker: str) -> Any:
    module, _, attribute = maker.partition(":")
    return getattr(import_module(module), attribute)


def _answer(made: Any, message: dict[str, Any]) -> tuple[dict[str, Any], bytes | memoryview]:
    try:
        value = getattr(made, message["method"])(**message["arguments"])
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it becomes the answer
        return _told(error), b""
    if isinstance(value, Payload):
        return {"value": value.value, "bytes": value.content.nbytes}, value.content
    return {"value": value}, b""


def _told(error: BaseException) -> dict[str, Any]:
    """The reason in one line; `memory` where too little memory is the reason."""
    text = " ".join(str(error).split())[:_LONGEST_REASON]
    reason = text if isinstance(error, MrctError) else f"{type(error).__name__}: {text}"
    memory = (
        isinstance(error, DeviceMemoryError | MemoryError) or "OutOfMemory" in type(error).__name__
    )
    return {"reason": reason, "memory": memory}


if __name__ == "__main__":
    main()
