"""The peak memory of mrct-infer on a study over the number of samples a slice: each run in a process of its own.

`--before FOLDER` names another checkout of the code, which is run in turns with this one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from machine import parser, report

HERE = Path(__file__).parents[1]
PACKAGES = ("runtime", "train", "export", "cli")
INFER = "from mrct_cli.main import main_infer; main_infer()"


class Peak(NamedTuple):
    """What a process took: resident memory at most, and seconds from start to end."""

    megabytes: int
    seconds: float


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
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, command)
        return Peak(used.ru_maxrss * 1024 // 1_000_000, time.perf_counter() - started)


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("study", type=Path)
    made.add_argument("bundle", type=Path)
    made.add_argument("--mc", type=int, nargs="+", default=[2, 10, 40])
    made.add_argument("--before", type=Path, help="a checkout of the code before a change")
    made.add_argument("--options", default="", help="further words for mrct-infer, in one string")
    arguments = made.parse_args()
    checkouts = {"now": HERE} | ({"before": arguments.before} if arguments.before else {})
    figures: dict[str, Any] = {"bundle": arguments.bundle.name, "peak_mb": {}, "seconds": {}}
    for mc in arguments.mc:
        for name, checkout in checkouts.items():
            words = [str(arguments.study), "--bundle", str(arguments.bundle), "--mc", str(mc)]
            peak = infer(checkout, [*words, *arguments.options.split()])
            figures["peak_mb"].setdefault(name, {})[mc] = peak.megabytes
            figures["seconds"].setdefault(name, {})[mc] = round(peak.seconds, 1)
            print(f"{name:6} mc {mc:3}: {peak.megabytes:5} MB at most, {peak.seconds:6.1f} s")
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
