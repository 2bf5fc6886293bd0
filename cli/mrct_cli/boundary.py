"""The one place where errors become a line on stderr and an exit code, and every end a last line on stdout."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
import threading
import traceback
import warnings
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, NoReturn

import click

from mrct_cli.verdict import Ending
from mrct_runtime.errors import MrctError, OutputError, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

DEBUG_FLAG = "--debug"
INTERRUPTED = 130
GRACE_SECONDS = 8.0
LONGEST = 2000
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
TERMINATED = 143


class Terminated(BaseException):
    """SIGTERM arrived; unwinds like an interrupt, so that partial outputs are removed."""


def run(command: click.Command, name: str, argv: Sequence[str] | None = None) -> int:
    """The exit code of one command line; every failure has been told in one line on stderr, every end in one on stdout."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = DEBUG_FLAG in arguments
    ending = Ending()
    with _watched(ending), _signals_raised() as raised:
        try:
            with nullcontext() if debug else _libraries_silenced():
                return _outcome(command, name, arguments, ending)
        except BaseException as error:  # noqa: BLE001  this is the border of the program
            if debug:
                traceback.print_exception(error)
            told = raised[0] if raised else error
            code = _report(told)
            if not isinstance(told, click.exceptions.NoArgsIsHelpError):
                with suppress(OSError):
                    _end(ending.line(code))
            return code


def _outcome(command: click.Command, name: str, arguments: list[str], ending: Ending) -> int:
    result = command.main(args=list(arguments), prog_name=name, standalone_mode=False, obj=ending)
    # click hands the code of ctx.exit() back as the result; our commands return their last line
    code = result if isinstance(result, int) else 0
    _end(ending.line(code, result if isinstance(result, str) else None))
    return code


def _end(line: str | None) -> None:
    """Tells the last line."""
    if line is None:
        return
    try:
        click.echo(_shown(line))
    except BrokenPipeError:
        # nobody reads on, and what is left in the buffer would be an error at Python's end
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _report(error: BaseException) -> int:
    """The exit code of an error, after its one line."""
    match error:
        case MrctError():
            return _tell(str(error), error.exit_code)
        case click.Abort() | KeyboardInterrupt():
            return _tell(f"interrupted; {_left(error)}", INTERRUPTED)
        case Terminated():
            return _tell(f"terminated; {_left(error)}", TERMINATED)
        case click.exceptions.NoArgsIsHelpError():
            error.show()
            return error.exit_code
        case click.ClickException():
            return _tell(error.format_message(), error.exit_code)
        case SystemExit():
            return error.code if isinstance(error.code, int) else 1
        case OSError() if error.errno in _FULL:
            return _tell(
                f"{error.strerror}: what is printed or written has no room", OutputError.exit_code
            )
        case _:
            return _tell(f"{told(error)}; {DEBUG_FLAG} shows all", MrctError.exit_code)


def _left(error: BaseException) -> str:
    """What an interrupted command leaves behind, as it noted on the error."""
    return "; ".join(getattr(error, "__notes__", ["nothing half-written was left behind"]))


def _tell(what: str, code: int) -> int:
    click.echo(f"mrct: error: {_shown(_shortened(' '.join(what.split())))}", err=True)
    return code


def _shortened(text: str) -> str:
    """The text, its middle left out where a value of a file makes it longer than anybody reads."""
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


def _shown(text: str) -> str:
    """The text with escapes for what no terminal should get: a file's name may hold any byte."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


@contextmanager
def _libraries_silenced() -> Iterator[None]:
    """DICOM libraries quote values of the file in their warnings and logs: patient data on a screen."""
    nowhere, root = logging.NullHandler(), logging.getLogger()
    root.addHandler(nowhere)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(nowhere)


def _watch(reader: socket.socket, ended: threading.Event, ending: Ending) -> None:
    """Ends the process some seconds after a signal: Python waits for a call of a library, which may take minutes.

    Everything that is finished is on the disk by then, as it is where the process is killed.
    """
    while received := reader.recv(1):
        code = {int(signal.SIGTERM): TERMINATED, int(signal.SIGINT): INTERRUPTED}.get(received[0])
        if code is not None and not ended.wait(GRACE_SECONDS):
            _tell(
                "stopped in the middle of a long step; what was finished before it is on the disk",
                code,
            )
            try:
                _end(ending.line(code))
            finally:
                os._exit(code)


@contextmanager
def _watched(ending: Ending) -> Iterator[None]:
    ended = threading.Event()
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        watch = threading.Thread(target=_watch, args=(reader, ended, ending), daemon=True)
        watch.start()
        try:
            yield
        finally:
            ended.set()
            signal.set_wakeup_fd(previous)
            writer.close()
            watch.join()


@contextmanager
def _signals_raised() -> Iterator[list[BaseException]]:
    """SIGTERM and SIGINT as exceptions, and a list of them: a library that is being imported makes another error of one."""
    raised: list[BaseException] = []

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        raised.append(Terminated() if number == signal.SIGTERM else KeyboardInterrupt())
        raise raised[-1]

    previous = {signal.SIGTERM: signal.signal(signal.SIGTERM, stop)}
    # a background job of a shell ignores SIGINT, and goes on doing so
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        previous[signal.SIGINT] = signal.signal(signal.SIGINT, stop)
    try:
        yield raised
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
