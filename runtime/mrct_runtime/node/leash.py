"""Runs a function as a program that ends when its parent does: `python -m mrct_runtime.node.leash module:attribute ...`.

The parent holds the other end of the standard input and never writes; the system closes it, however the parent ends.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path


def main() -> None:
    """Watches the parent, and calls the function named by the first argument with the others in sys.argv."""
    leash = os.dup(0)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_watch, args=(leash,), daemon=True).start()
    # where memory runs out this process is to go, not the node
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", "ascii")
    program = sys.argv.pop(1)
    module, _, attribute = program.partition(":")
    getattr(import_module(module), attribute)()


def _watch(leash: int) -> None:
    os.read(leash, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
