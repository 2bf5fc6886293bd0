"""pynetdicom as this node uses it: imported late, quiet, with its temporary files inside the spool."""

from __future__ import annotations

import logging
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any, Final

from mrct_runtime.errors import UsageError
from mrct_runtime.node.spool import RECEIVING, Spool

_ABORT_S: Final = 2.0


def pynetdicom() -> ModuleType:
    """The library; UsageError with the name of its extra where it is missing."""
    try:
        import pynetdicom as library
    except ImportError as error:
        raise UsageError("pynetdicom is not installed: pip install 'mrct[serve]'") from error
    return library


@contextmanager
def settled(spool: Spool) -> Iterator[None]:
    """A scope with what these libraries have as settings of the whole process as the node needs it.

    Their logs quote data sets. A received instance goes to a file at once, and that file's place is the spool, so that
    it can be renamed, counts, and is found after a crash.
    """
    from pynetdicom import _config

    loggers = [logging.getLogger(name) for name in ("pynetdicom", "pydicom")]
    before = _config.LOG_HANDLER_LEVEL, _config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    _config.LOG_HANDLER_LEVEL, _config.STORE_RECV_CHUNKED_DATASET = "none", True
    tempfile.tempdir = str(spool[RECEIVING])
    try:
        yield
    finally:
        _config.LOG_HANDLER_LEVEL, _config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir = before
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def abort_all(associations: Sequence[Any]) -> None:
    """Aborts them all at once; a peer that does not answer is cut off."""
    threads = [threading.Thread(target=one.abort, daemon=True) for one in associations]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _ABORT_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for association in associations:
        transport = association.dul.socket
        if transport is not None and transport.socket is not None:
            with suppress(OSError):
                transport.socket.shutdown(socket.SHUT_RDWR)
