"""The peak memory of mrct-infer on a study over the number of samples a slice: each run in a process of its own.

Of what is resident the pages of files could be taken back at any time; the rest, the process's own, is told beside it.
`--before FOLDER` names another checkout of the code, which is run in turns with this one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from machine import parser, report

HERE = Path(__file__).parents[1]
PACKAGES = ("runtime", "train", "export", "cli")
INFER = "from mrct_cli.main import main_infer; main_infer()"


class Peak(NamedTuple):
    """What a process took: resident memory at most, that of its own (every 20 ms), and seconds from start to end."""

    megabytes: int
    own_megabytes: int
    seconds: float


class Own(threading.Thread):
    """Looks how much memory of its own a process has, until it ends; `most` is in MB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{pid}/status")
        self.most = 0

    def run(self) -> None:
        """Looks every 20 ms."""
        while found := self._kilobytes():
            self.most = max(self.most, int(found[1]) * 1024 // 1_000_000)
            time.sleep(0.02)

    def _kilobytes(self) -> re.Match[str] | None:
        try:
            # a process that has ended and was not waited for has a status without it
            return re.search(r"RssAnon:\s+(\d+) kB", self._status.read_text())
        except OSError:
            return None


def environment(checkout: Path) -> dict[str, str]:
    """That of a process which runs the packages of a checkout."""
    places = os.pathsep.join(str(checkout / package) for package in PACKAGES)
    return {**os.environ, "PYTHONPATH": places}


def infer(checkout: Path, words: list[str]) -> Peak:
    """A run of mrct-infer, its result thrown away."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-c", INFER, words[0], f"{scratch}/out", *words[1:], "--quiet"]
        started = time.perf_counter()
        child = subprocess.Popen(command, env=environment(checkout))
        own = Own(child.pid)
        own.start()
        _, status, used = os.wait4(child.pid, 0)
        own.join()
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, command)
        taken = time.perf_counter() - started
        return Peak(used.ru_maxrss * 1024 // 1_000_000, own.most, taken)


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("study", type=Path)
    made.add_argument("bundle", type=Path)
    made.add_argument("--mc", type=int, nargs="+", default=[2, 10, 40])
    made.add_argument("--before", type=Path, help="a checkout of the code before a change")
    made.add_argument("--options", default="", help="further words for mrct-infer, in one string")
    arguments = made.parse_args()
    checkouts = {"now": HERE} | ({"before": arguments.before} if arguments.before else {})
    figures: dict[str, Any] = {"bundle": arguments.bundle.name}
    for mc in arguments.mc:
        for name, checkout in checkouts.items():
            words = [str(arguments.study), "--bundle", str(arguments.bundle), "--mc", str(mc)]
            peak = infer(checkout, [*words, *arguments.options.split()])
            figure = {
                "peak_mb": peak.megabytes,
                "own_mb": peak.own_megabytes,
                "seconds": round(peak.seconds, 1),
            }
            for what, value in figure.items():
                figures.setdefault(what, {}).setdefault(name, {})[mc] = value
            print(
                f"{name:6} mc {mc:3}: {peak.megabytes:5} MB at most, {peak.own_megabytes:5} MB of its own, "
                f"{peak.seconds:6.1f} s"
            )
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
