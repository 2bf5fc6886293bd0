"""How the node is: a file in the spool, and GET /health on loopback, 200 while it can take and translate studies, else 503."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeAlias

from mrct_runtime.errors import OutputError

LOOPBACK: Final = "127.0.0.1"
_SILENT_S: Final = 5.0

Health: TypeAlias = dict[str, Any]
"""`ok` and what else there is to say, as JSON has it; counts and times, no patient data."""


@contextmanager
def answering(health: Callable[[], Health], port: int | None) -> Iterator[None]:
    """A scope in which GET /health is answered at this port of loopback; None for no port."""
    if port is None:
        yield
        return
    try:
        server = ThreadingHTTPServer((LOOPBACK, port), _handler(health))
    except OSError as error:
        raise OutputError(
            f"{LOOPBACK} port {port} cannot be listened at: {error.strerror}; name another health port"
        ) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _handler(health: Callable[[], Health]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SILENT_S

        def do_GET(self) -> None:
            found = health() if self.path == "/health" else None
            body = json.dumps({"error": "only /health"} if found is None else found).encode()
            if found is None:
                status = HTTPStatus.NOT_FOUND
            else:
                status = HTTPStatus.OK if found["ok"] else HTTPStatus.SERVICE_UNAVAILABLE
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: Any) -> None:
            """Nothing: whoever asks every second is no event."""

    return Handler
