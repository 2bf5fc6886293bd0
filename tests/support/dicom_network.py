"""The others on the wire: a peer that sends, a destination that keeps what it gets, and a node between them."""

import io
import json
import socket
import threading
import time
from contextlib import contextmanager

from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from mrct_runtime.node.configuration import NodeConfig
from mrct_runtime.node.event_log import EventLog
from mrct_runtime.node.service import Node

PEER, TITLE, DESTINATION = "PEER", "MRCT", "PACS"
ADDRESS = "127.0.0.1"


def free_port():
    with socket.socket() as found:
        found.bind((ADDRESS, 0))
        return found.getsockname()[1]


def config(spool, destination_port=9, **changes):
    values = {
        "spool": spool,
        "port": free_port(),
        "callers": [{"title": PEER}],
        "destination": {"title": DESTINATION, "host": ADDRESS, "port": destination_port},
        "quiet_s": 0.3,
        "inference_retries": {"attempts": 2, "first_s": 0.1, "longest_s": 0.1},
        "sending_retries": {"attempts": 3, "first_s": 0.1, "longest_s": 0.2},
    }
    limits = {"free_bytes": 0, **changes.pop("limits", {})}
    return NodeConfig.made({**values, "limits": limits, **changes}, "test")


class Log(io.StringIO):
    """What a node told, as events."""

    def events(self, name=None):
        found = [json.loads(line) for line in self.getvalue().splitlines()]
        return [event for event in found if name in {None, event["event"]}]


@contextmanager
def running(settings, program="fake_infer:main"):
    """A node in this process, and its log."""
    log = Log()
    node = Node(settings, program, EventLog(log, as_json=True))
    faults = []

    def run():
        try:
            node.run()
        except BaseException as error:  # noqa: BLE001 - the test raises it
            faults.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait(lambda: log.events("listening") or faults)
        if faults:
            raise faults[0]
        yield log
    finally:
        node.stopping.set()
        thread.join(20)
    assert not thread.is_alive()


def wait(condition, seconds=20.0):
    """What the condition gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def associate(settings, contexts, calling=PEER, called=TITLE, **more):
    """An association that asks for these (SOP class, transfer syntax)."""
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    for kind, syntax in dict.fromkeys(contexts):
        entity.add_requested_context(kind, syntax)
    return entity.associate(ADDRESS, settings.port, ae_title=called, **more)


def send(settings, images, **how):
    """The status of every image, sent in one association."""
    contexts = [(image.SOPClassUID, image.file_meta.TransferSyntaxUID) for image in images]
    association = associate(settings, contexts, **how)
    assert association.is_established
    try:
        return [association.send_c_store(image).get("Status") for image in images]
    finally:
        association.release()


def echo(settings, **how):
    """The status of a C-ECHO, None where there was no association."""
    association = associate(settings, [(Verification, "1.2.840.10008.1.2")], **how)
    if not association.is_established:
        return None
    try:
        return association.send_c_echo().get("Status")
    finally:
        association.release()


class Destination:
    """Keeps what it is sent: the data set of every SOP Instance UID, and in which association each came."""

    def __init__(self, classes, status=lambda image: 0x0000, *, syntax=None, ssl_context=None):
        self.images, self.arrivals = {}, []
        self._status = status
        entity = AE(DESTINATION)
        entity.require_called_aet = True
        for kind in classes:
            entity.add_supported_context(kind, syntax)
        self.port = free_port()
        self._server = entity.start_server(
            (ADDRESS, self.port),
            block=False,
            ssl_context=ssl_context,
            evt_handlers=[(evt.EVT_C_STORE, self._store)],
        )

    def _store(self, event):
        image = dcmread(event.dataset_path) if event.request._dataset_path else event.dataset
        status = self._status(image)
        self.arrivals.append((id(event.assoc), str(image.SOPInstanceUID), status))
        if status == 0x0000:
            self.images[str(image.SOPInstanceUID)] = image
        return status

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._server.shutdown()
