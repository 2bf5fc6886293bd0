"""The C-STORE and C-ECHO provider: what is acknowledged is on the disk, what is not taken is refused with its reason."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import BaseServer
from typing import Any, Final

from pydicom.uid import UID

from mrct_runtime.errors import OutputError
from mrct_runtime.node.configuration import NodeConfig
from mrct_runtime.node.event_log import Fact, Tell, place_of
from mrct_runtime.node.incoming import Incoming
from mrct_runtime.node.instance import (
    CLASSES,
    NOT_UNDERSTOOD,
    OUT_OF_RESOURCES,
    RefusedInstanceError,
    examined,
    transfer_syntaxes,
)
from mrct_runtime.node.listening import METER, guarded_server
from mrct_runtime.node.network import abort_all, pynetdicom, settled
from mrct_runtime.node.room import Room
from mrct_runtime.node.tls import server_context

SUCCESS: Final = 0x0000
VERIFICATION: Final = UID("1.2.840.10008.1.1")
_NOT_AUTHORISED: Final = 0x0124
_POLL_S: Final = 0.1
_FEW_CLASSES: Final = 3
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True, eq=False)
class Reception:
    """What is done with each message of a peer; called by the threads of all associations."""

    config: NodeConfig
    incoming: Incoming
    room: Room
    tell: Tell
    closing: threading.Event = field(default_factory=threading.Event)

    def echoed(self, event: Any) -> int:
        """The status of a C-ECHO."""
        return SUCCESS if self._may(event) else _NOT_AUTHORISED

    def stored(self, event: Any) -> int:
        """The status of a C-STORE; success only when the instance is on the disk in its study."""
        try:
            self._take(event)
        except RefusedInstanceError as refused:
            self._refuse(event, str(refused), status=f"{refused.status:04X}")
            return refused.status
        except OSError as error:
            self._refuse(event, f"disk: {type(error).__name__}", status=f"{OUT_OF_RESOURCES:04X}")
            return OUT_OF_RESOURCES
        except Exception as error:  # noqa: BLE001 - no object may end the node, and none passes unexamined
            self.tell("internal", error=type(error).__name__, at=place_of(error))
            return NOT_UNDERSTOOD
        return SUCCESS

    def rejected(self, event: Any) -> None:
        """Tells why an association was not made."""
        request = event.assoc.requestor.primitive
        if request.called_ae_title != self.config.title:
            why = "unknown called AE title"
        elif request.calling_ae_title not in {caller.title for caller in self.config.callers}:
            why = "unknown calling AE title"
        else:
            why = "too many associations"
        self._refuse(event, why)

    def established(self, event: Any) -> None:
        """Ends an association from an address that its title does not have; tells what was offered in vain."""
        if not self._may(event):
            self._refuse(event, "unknown address")
            event.assoc.abort()
            return
        others = sorted({str(context.abstract_syntax) for context in event.assoc.rejected_contexts})
        why = "SOP class or transfer syntax not taken"
        if len(others) > _FEW_CLASSES:  # a peer that offers whatever it may ever want to send
            self._refuse(event, why, classes=len(others))
            return
        for class_uid in others:
            shown = class_uid if _UID.fullmatch(class_uid) else "invalid"
            self._refuse(event, why, sop_class=shown)

    def closed(self, event: Any) -> None:
        """Ends the wait for a request that cannot come; removes the half of an instance that was left, and tells of it."""
        if event.assoc.requestor.primitive is None:
            # the thread would wait for all of association_s, and hold the place of a peer
            event.assoc.dul.to_user_queue.put(None)
        half = getattr(event.assoc.dimse.message, "_data_set_file", None)
        if half is not None:
            half.close()
            Path(half.name).unlink(missing_ok=True)
            self._refuse(event, "association ended within an instance")

    def _take(self, event: Any) -> None:
        if not self._may(event):
            raise RefusedInstanceError(_NOT_AUTHORISED, "unknown address")
        if fault := "stopping" if self.closing.is_set() else self.room.fault():
            raise RefusedInstanceError(OUT_OF_RESOURCES, fault)
        path, request = Path(event.dataset_path), event.request
        size = path.stat().st_size
        if size > self.config.limits.instance_bytes:
            raise RefusedInstanceError(NOT_UNDERSTOOD, f"{size} bytes are too many")
        found = examined(
            path, str(event.context.abstract_syntax), str(request.AffectedSOPInstanceUID)
        )
        verdict = self.incoming.take(path, found.study_uid, found.instance_uid)
        if verdict == "too many":
            raise RefusedInstanceError(NOT_UNDERSTOOD, "too many instances in the study")
        self.room.add(size)

    def _may(self, event: Any) -> bool:
        requestor = event.assoc.requestor
        return self.config.allows(requestor.ae_title, str(requestor.address))

    def _refuse(self, event: Any, why: str, **facts: Fact) -> None:
        requestor = event.assoc.requestor
        title = "".join(c if c.isalnum() or c in "-_. " else "?" for c in str(requestor.ae_title))
        self.tell("refused", why=why, caller=title[:16], address=str(requestor.address), **facts)


@contextmanager
def receiving(reception: Reception) -> Iterator[None]:
    """A scope in which the node listens; at its end associations that are still there are aborted."""
    pynetdicom()
    with settled(reception.incoming.spool):
        server = _server(reception)
        thread = threading.Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            reception.closing.set()
            BaseServer.shutdown(server)
            server.server_close()
            abort_all(server.active_associations)


def _server(reception: Reception) -> Any:
    from pynetdicom import AE, evt

    config, limits = reception.config, reception.config.limits
    entity = AE(config.title)
    entity.require_called_aet = True
    entity.require_calling_aet = [caller.title for caller in config.callers]
    entity.maximum_associations = limits.associations
    entity.maximum_pdu_size = limits.pdu_bytes
    entity.acse_timeout = limits.association_s
    entity.dimse_timeout = limits.message_s
    entity.network_timeout = limits.network_s
    entity.add_supported_context(VERIFICATION)
    for class_uid in CLASSES:
        entity.add_supported_context(class_uid, list(transfer_syntaxes()))
    try:
        return entity.make_server(
            (config.bind, config.port),
            ssl_context=server_context(config.tls),
            evt_handlers=[
                (evt.EVT_C_STORE, reception.stored),
                (evt.EVT_C_ECHO, reception.echoed),
                (evt.EVT_DIMSE_RECV, _message_complete),
                (evt.EVT_REJECTED, reception.rejected),
                (evt.EVT_ESTABLISHED, reception.established),
                (evt.EVT_CONN_CLOSE, reception.closed),
            ],
            server_class=guarded_server(config, reception.room, reception.tell),
        )
    except OSError as error:
        raise OutputError(
            f"{config.bind} port {config.port} cannot be listened at: {error.strerror}; name another port"
        ) from error


def _message_complete(event: Any) -> None:
    getattr(event.assoc, METER).reset()
