"""One translation in a process of its own: its crash, hang or full memory ends nothing here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mrct_runtime.node.jobs import Job
from mrct_runtime.node.pipeline import Outcome

_POLL_S: Final = 0.1
_GRACE_S: Final = 3.0
_LONGEST_REASON: Final = 500
LOG: Final = "translation.log"

# What another attempt with the same instances cannot mend: they, the options, or a computation that is the same each time.
_FINAL: Final[Mapping[int, str]] = MappingProxyType(
    {
        2: "its options make no sense",
        3: "no usable input",
        4: "input refused",
        9: "numeric failure",
    }
)
_TRANSIENT: Final[Mapping[int, str]] = MappingProxyType(
    {5: "bundle invalid", 6: "output not writable", 7: "device not available"}
)


@dataclass(frozen=True, eq=False)
class Inference:
    """Runs `program`, a function as module:attribute, with `options` after the study and the result's folder.

    The process is on a leash: it ends with this one, also where this one is killed. Until then it holds the spool's lock.
    """

    program: str
    options: tuple[str, ...]
    longest_s: float
    lock: int
    stopping: threading.Event

    def __call__(self, job: Job) -> Outcome:
        """How the translation of a job ended; a result that it made lies in the job's folder."""
        words = [job.instances.as_posix(), job.result.as_posix(), *self.options]
        with (job.folder / LOG).open("wb") as log:
            child = self._start(words, log.fileno())
            try:
                ended = self._wait(child)
            finally:
                _end(child)
        if ended is not None:
            return ended
        return _judged(child.returncode, job.folder / LOG)

    def _start(self, words: list[str], log: int) -> subprocess.Popen[bytes]:
        # it has to import what its parent imports
        path = os.pathsep.join(filter(None, sys.path))
        return subprocess.Popen(  # noqa: S603 - the words are the configuration's and our own paths
            [sys.executable, "-P", "-m", "mrct_runtime.node.leash", self.program, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={**os.environ, "PYTHONPATH": path},
            pass_fds=(self.lock,),
            start_new_session=True,  # so that its own children end with it
        )

    def _wait(self, child: subprocess.Popen[bytes]) -> Outcome | None:
        deadline = time.monotonic() + self.longest_s
        while child.poll() is None:
            if self.stopping.is_set():
                return Outcome("stopped")
            if time.monotonic() > deadline:
                return Outcome("retry", f"longer than {self.longest_s:g} s")
            time.sleep(_POLL_S)
        return None


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends the child and all that it started: asked first, so that it removes what it has written."""
    if child.poll() is None:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdin is not None:
        child.stdin.close()


def _judged(code: int, log: Path) -> Outcome:
    if code == 0:
        return Outcome("retry", "it ended with 0 and made no result")
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    reason = lines[-1][:_LONGEST_REASON] if lines else ""
    if code < 0:
        return Outcome("retry", f"killed by signal {-code}", reason)
    if code in _FINAL:
        return Outcome("refused", f"exit code {code}: {_FINAL[code]}", reason)
    return Outcome("retry", f"exit code {code}: {_TRANSIENT.get(code, 'internal error')}", reason)
