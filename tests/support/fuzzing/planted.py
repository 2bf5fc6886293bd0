"""Commands with the faults that fuzzing is to find, by which the tests see that it does."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import MappingProxyType

import click


def _hang() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    time.sleep(1000)


def _hang_in_a_child() -> None:
    subprocess.run([sys.executable, "-c", "import time; time.sleep(1000)"], check=True)


def _fill_the_memory() -> None:
    held = [bytearray(64 << 20) for _ in range(1000)]
    click.echo(len(held))


def _claim_memory() -> None:
    click.echo(len(bytearray(100 << 30)))


def _crash() -> None:
    ctypes.string_at(0)


def _raise() -> None:
    raise KeyError("a text of the file")


def _show_a_traceback() -> None:
    try:
        _raise()
    except KeyError:
        import traceback

        traceback.print_exc()
    raise SystemExit(4)


def _end_silently() -> None:
    raise SystemExit(4)


def _end_with_another_code() -> None:
    click.echo("mrct: error: refused", err=True)
    os._exit(77)


def _tell_two_errors() -> None:
    click.echo("mrct: error: one", err=True)
    click.echo("mrct: error: two", err=True)
    raise SystemExit(4)


def _give_nothing() -> None:
    pass


def _give_something_else() -> None:
    click.echo("not what the seed gives")


def _refuse() -> None:
    raise click.UsageError("refused")


FATES = MappingProxyType(
    {
        "hang": ("hang", _hang),
        "hang-in-a-child": ("hang", _hang_in_a_child),
        "fill-the-memory": ("memory", _fill_the_memory),
        "claim-memory": ("memory", _claim_memory),
        "crash": ("crash", _crash),
        "raise": ("traceback", _raise),
        "show-a-traceback": ("traceback", _show_a_traceback),
        "end-silently": ("untold", _end_silently),
        "end-with-another-code": ("untold", _end_with_another_code),
        "tell-two-errors": ("untold", _tell_two_errors),
        "give-nothing": ("wrong", _give_nothing),
        "give-something-else": ("wrong", _give_something_else),
        "refuse": ("refused", _refuse),
    }
)
"""What a command is called -> the word of the tally that it should get, and what it does."""


def _command(work: Callable[[], None]) -> click.Command:
    return click.Command("planted", callback=work)


PLANTED = {f"planted-{name}": _command(work) for name, (_, work) in FATES.items()}
