"""mrct serve: a DICOM node that answers every MR study with its synthetic CT."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mrct_cli.paths import PATH
from mrct_cli.verdict import ending
from mrct_runtime.errors import UsageError
from mrct_runtime.node.configuration import NodeConfig, read_toml

if TYPE_CHECKING:
    from types import FrameType

_INFER = "mrct_cli.main:main_infer"
_SOURCE = "serve"
# The node says these itself.
_OURS = {"dry_run", "overwrite", "quiet", "bundle_path"}
_FIELDS = NodeConfig.model_fields
_NEEDED = {"spool": "--spool", "callers": "--caller", "destination": "--destination"}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=PATH, help="A TOML file; the other flags take precedence over it.")
@click.option("--spool", type=PATH, help="Folder of studies, queue and results: patient data.")
@click.option("--title", help=f"The node's AE title. [{_FIELDS['title'].default}]")
@click.option("--bind", help=f"Address to listen at. [{_FIELDS['bind'].default}]")
@click.option("--port", type=int, help=f"Port to listen at. [{_FIELDS['port'].default}]")
@click.option(
    "--caller",
    "callers",
    multiple=True,
    metavar="TITLE[@ADDRESS]",
    help="A calling AE title that may send, from that address alone where one is given; again for another.",
)
@click.option("--destination", metavar="TITLE@HOST:PORT", help="Where results go.")
@click.option(
    "--bundle",
    type=PATH,
    envvar="MRCT_BUNDLE",
    show_envvar=True,
    help="The model, a .mrct directory. Without one a demonstration model trained on phantoms is taken.",
)
@click.option(
    "--quiet-s",
    type=float,
    help=f"Seconds without an instance after which a study is complete. [{_FIELDS['quiet_s'].default:g}]",
)
@click.option("--health-port", type=int, help="Answer GET /health at this port of 127.0.0.1.")
@click.option("--json-log", is_flag=True, default=None, help="Log lines of JSON.")
@click.argument("infer", nargs=-1, metavar="[-- OPTIONS OF mrct-infer]")
def serve(config: Path | None, **flags: Any) -> None:
    """Receive MR studies by C-STORE, translate them, and send the results on by C-STORE.

    Nothing acknowledged is lost and no study is translated twice, also after kill -9: the queue lies in --spool. Events go
    to the standard error, with UIDs and counts, without patient data. For research use only.
    """
    from mrct_runtime.node.event_log import EventLog, place_of
    from mrct_runtime.node.network import pynetdicom
    from mrct_runtime.node.service import Node

    # it goes on until it is stopped, and tells everything on stderr
    ending().silent = True
    settings = configured(config, flags)
    pynetdicom()
    _check_infer(settings)
    os.umask(0o077)
    tell = EventLog(sys.stderr, settings.json_log)
    node = Node(settings, _INFER, tell)

    def thread_failed(arguments: threading.ExceptHookArgs) -> None:
        # of a connection that is cut off while the node stops nothing is to be told
        if arguments.exc_value is not None and not node.stopping.is_set():
            kind = arguments.exc_type.__name__
            tell("internal", error=kind, at=place_of(arguments.exc_value))

    threading.excepthook = thread_failed
    code = _until_signalled(node.stopping, node.run)
    if code:
        sys.exit(code)


def configured(config: Path | None, flags: dict[str, Any]) -> NodeConfig:
    """The configuration of the file, with the flags that were given in place of what it has."""
    values = {} if config is None else read_toml(config)
    given = {name: value for name, value in flags.items() if value not in {None, ()}}
    if "callers" in given:
        given["callers"] = [_caller(word) for word in given["callers"]]
    if "destination" in given:
        given["destination"] = _destination(given["destination"])
    values |= given
    missing = [flag for name, flag in _NEEDED.items() if name not in values]
    if missing:
        raise UsageError(f"serve needs {', '.join(missing)}, as flags or by --config FILE")
    return NodeConfig.made(values, _SOURCE if config is None else config.name)


def _caller(word: str) -> dict[str, Any]:
    title, _, address = word.partition("@")
    return {"title": title, "addresses": [address] if address else []}


def _destination(word: str) -> dict[str, str]:
    title, _, place = word.partition("@")
    host, _, port = place.rpartition(":")
    if not (title and host and port):
        raise UsageError(f"--destination is TITLE@HOST:PORT, got {word}")
    return {"title": title, "host": host.strip("[]"), "port": port}


def _check_infer(settings: NodeConfig) -> None:
    """Refuses options of mrct-infer, and a bundle, with which no study could be translated."""
    from mrct_cli.infer import infer
    from mrct_runtime.bundle import Bundle

    try:
        context = infer.make_context("infer", ["STUDY", "OUT", *settings.infer])
    except click.ClickException as error:
        raise UsageError(f"infer: {error.format_message()}") from error
    for name in sorted(_OURS):
        source = context.get_parameter_source(name)
        if source is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(
                f"infer: --{name.removesuffix('_path').replace('_', '-')} is the node's own"
            )
    if settings.bundle is not None:
        Bundle.load(settings.bundle)


def _until_signalled(stopping: threading.Event, run: Any) -> int:
    """The code of the signal that ended `run`, which is told by `stopping`; 0 where it ended by itself."""
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        stopping.set()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        run()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 128 + received[0] if received else 0
