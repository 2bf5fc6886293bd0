"""pynetdicom's server behind guards that it does not have itself.

A connection counts from its first byte, and from an address that no caller has it is closed. The TLS handshake and every
read have a time limit, and are not done by the thread that accepts. A peer cannot announce more bytes than it may send.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from mrct_runtime.node.configuration import NodeConfig
from mrct_runtime.node.event_log import Tell
from mrct_runtime.node.room import Room

# Beyond the associations, so that the one too many is told why; and what one may send beyond the largest instance.
_SPARE_CONNECTIONS: Final = 8
_SPARE_BYTES: Final = 1 << 20
METER: Final = "mrct_meter"
"""The attribute of an association that has its meter."""
_LARGEST_UNIT: Final = 1 << 20
# The disk is looked at after so many bytes of a message.
_LOOK_BYTES: Final = 1 << 24


@dataclass(eq=False)
class MessageMeter:
    """Bytes that came since the last whole message."""

    limit: int
    room: Room
    count: int = 0

    def add(self, size: int) -> None:
        """OSError, which pynetdicom takes as a broken connection, where the message cannot be taken any more."""
        looks = self.count // _LOOK_BYTES
        self.count += size
        if self.count > self.limit:
            raise OSError("message too large")
        if self.count // _LOOK_BYTES > looks and self.room.fault():
            raise OSError("no room")

    def reset(self) -> None:
        """A message is complete."""
        self.count = 0


@dataclass(frozen=True)
class Doorkeeper:
    """Who may connect, and how many at once."""

    config: NodeConfig
    tell: Tell

    def lets_in(self, address: str) -> bool:
        """True for an address that a caller has, while there is room."""
        allowed = self.config.addresses
        if allowed is not None and address not in allowed:
            self.tell("refused", why="unknown address", address=address)
            return False
        most = self.config.limits.associations + _SPARE_CONNECTIONS
        if associations_alive() >= most:
            self.tell("refused", why="too many connections", address=address)
            return False
        return True


def associations_alive() -> int:
    """How many associations that peers asked for are alive in this process."""
    return sum("AcceptorThread" in thread.name for thread in threading.enumerate())


def guarded_server(config: NodeConfig, room: Room, tell: Tell) -> type[Any]:
    """The class of the server, made here because pynetdicom is not always installed."""
    from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

    limits = config.limits
    doorkeeper = Doorkeeper(config, tell)
    largest = limits.instance_bytes + max(limits.instance_bytes, _SPARE_BYTES)

    class GuardedHandler(RequestHandler):
        def _create_association(self) -> Any:
            association = super()._create_association()
            transport = association.dul.socket
            assert isinstance(transport, AssociationSocket)
            meter = MessageMeter(largest, room)
            setattr(association, METER, meter)
            setattr(transport, "recv", _guarded(transport, meter, limits.network_s))  # noqa: B010
            return association

    class GuardedServer(ThreadedAssociationServer):
        daemon_threads = True
        request_queue_size = 64

        def __init__(
            self,
            ae: Any,
            address: tuple[str, int],
            ae_title: str,
            contexts: list[Any],
            ssl_context: ssl.SSLContext | None,
            evt_handlers: list[Any],
        ) -> None:
            super().__init__(ae, address, ae_title, contexts, None, evt_handlers, GuardedHandler)
            self.handshake = ssl_context
            self.handshakes = threading.BoundedSemaphore(limits.associations + _SPARE_CONNECTIONS)

        def verify_request(self, request: Any, client_address: Any) -> bool:
            del request
            return doorkeeper.lets_in(str(client_address[0]))

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            try:
                secured = self.secured(request)
            except OSError:
                tell("refused", why="no TLS", address=str(client_address[0]))
                self.shutdown_request(request)
                return
            secured.settimeout(limits.network_s)
            super().process_request_thread(secured, client_address)

        def secured(self, request: Any) -> Any:
            """The connection after its handshake, of which only so many are under way at once."""
            if self.handshake is None:
                return request
            if not self.handshakes.acquire(blocking=False):
                raise OSError("too many handshakes")
            try:
                request.settimeout(limits.association_s)
                return self.handshake.wrap_socket(request, server_side=True)
            finally:
                self.handshakes.release()

        def handle_error(self, request: Any, client_address: Any) -> None:
            del request
            tell("refused", why="connection failed", address=str(client_address[0]))

    return GuardedServer


def _guarded(transport: Any, meter: MessageMeter, longest_s: float) -> Callable[[int], bytearray]:
    """The socket's `recv`, which reads just so many bytes, with a limit on their number and on the time for all of them."""

    def recv(size: int) -> bytearray:
        if size > _LARGEST_UNIT:
            raise OSError("protocol data unit too large")
        meter.add(size)
        found, deadline = bytearray(), time.monotonic() + longest_s
        sock: socket.socket = transport.socket
        # a peer that waits for the acknowledgement of a first part would wait 40 ms for each image
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        while len(found) < size:
            piece = sock.recv(min(size - len(found), 1 << 16))
            if not piece:
                break
            found += piece
            if time.monotonic() > deadline:
                raise TimeoutError("too slow")
        return found

    return recv
