import socket
import ssl
import struct
import threading
import time

import pydicom
import pytest
from dicom_network import ADDRESS, PEER, associate, config, echo, running, send, wait
from dicom_study import CANARY, make_grid, write_series
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
)
from pynetdicom.dsutils import encode

from mrct_runtime.errors import OutputError, UsageError
from mrct_runtime.node.room import Room

pytestmark = [
    pytest.mark.usefixtures("collected"),
    pytest.mark.filterwarnings("ignore:unclosed <.*socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning"),
]
STORED = 0x0000
NOBODY = "WHOEVER"


@pytest.fixture
def images(tmp_path):
    paths = write_series(tmp_path / "study", make_grid((3, 24, 30)))
    return [pydicom.dcmread(path) for path in paths]


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "spool"


def quiet(spool, **changes):
    """A node whose studies never become complete by themselves."""
    return config(spool, **{"quiet_s": 600.0, **changes})


def held(spool):
    return sorted(path for path in (spool / "incoming").rglob("*.dcm"))


def refusals(log):
    return [event["why"] for event in log.events("refused")]


def test_a_peer_is_answered_and_its_images_are_stored_as_they_came(spool, images):
    settings = quiet(spool)
    with running(settings) as log:
        assert echo(settings) == STORED
        assert send(settings, images) == [STORED] * 3
        assert refusals(log) == []
        found = [pydicom.dcmread(path) for path in held(spool)]
    assert {i.SOPInstanceUID for i in found} == {i.SOPInstanceUID for i in images}
    by_uid = {image.SOPInstanceUID: image for image in images}
    for image in found:
        assert image.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert image.PixelData == by_uid[image.SOPInstanceUID].PixelData
    assert list((spool / "receiving").iterdir()) == []


def test_compressed_images_stay_compressed(spool, images):
    for image in images:
        image.compress(RLELossless, generate_instance_uid=False)
    settings = quiet(spool)
    with running(settings):
        assert send(settings, images) == [STORED] * 3
    found = pydicom.dcmread(held(spool)[0])
    assert found.file_meta.TransferSyntaxUID == RLELossless


@pytest.mark.parametrize(
    ("titles", "why"),
    [
        ({"calling": NOBODY}, "unknown calling AE title"),
        ({"called": "ANY-SCP"}, "unknown called AE title"),
    ],
)
def test_an_unknown_title_is_refused_and_logged(titles, why, spool, images):
    settings = quiet(spool)
    with running(settings) as log:
        assert echo(settings, **titles) is None
        contexts = [(MRImageStorage, ExplicitVRLittleEndian)]
        association = associate(settings, contexts, **titles)
        assert association.is_rejected
        assert refusals(log) == [why] * 2
        assert log.events("refused")[0]["caller"] == titles.get("calling", PEER)


def test_an_address_that_no_caller_has_gets_no_answer(spool):
    settings = quiet(spool, callers=[{"title": PEER, "addresses": ["10.1.2.3"]}])
    with running(settings) as log:
        assert echo(settings) is None
        assert refusals(log) == ["unknown address"]


def test_a_title_from_the_address_of_another_is_refused(spool):
    callers = [{"title": PEER, "addresses": ["10.1.2.3"]}, {"title": NOBODY}]
    settings = quiet(spool, callers=callers)
    with running(settings) as log:
        assert echo(settings) is None
        assert echo(settings, calling=NOBODY) == STORED
        assert refusals(log) == ["unknown address"]


def test_a_ct_is_refused_and_logged(spool, images):
    settings = quiet(spool)
    with running(settings) as log:
        association = associate(settings, [(CTImageStorage, ExplicitVRLittleEndian)])
        assert association.accepted_contexts == []
        event = wait(lambda: log.events("refused"))[0]
        assert (event["sop_class"], event["caller"]) == (CTImageStorage, PEER)
        deflated = associate(settings, [(MRImageStorage, DeflatedExplicitVRLittleEndian)])
        assert deflated.accepted_contexts == []


def test_a_ct_that_is_announced_as_an_mr_is_refused_and_logged(spool, images):
    settings = quiet(spool)
    with running(settings) as log:
        association = associate(settings, [(MRImageStorage, ExplicitVRLittleEndian)])
        image = images[0]
        image.SOPClassUID = CTImageStorage
        (context,) = association.accepted_contexts
        context.abstract_syntax = CTImageStorage  # what the peer itself believes to have agreed on
        assert association.send_c_store(image).Status == 0xA900
        association.release()
        assert refusals(log) == ["of another SOP class"]
        assert held(spool) == []


def test_a_truncated_object_is_refused_and_logged_and_the_rest_is_taken(spool, images):
    images[1].PixelData = images[1].PixelData[:-100]
    settings = quiet(spool)
    with running(settings) as log:
        assert send(settings, images) == [STORED, 0xC000, STORED]
        (event,) = log.events("refused")
        assert (event["why"], event["status"]) == ("truncated", "C000")
        assert len(held(spool)) == 2
        assert list((spool / "receiving").iterdir()) == []


def test_an_instance_that_is_too_large_is_refused_and_logged(spool, images):
    settings = quiet(spool, limits={"instance_bytes": 1000})
    with running(settings) as log:
        assert send(settings, images[:1]) == [0xC000]
        assert refusals(log)[0].endswith("bytes are too many")


def test_an_instance_that_does_not_end_is_cut_off_and_logged(spool, images):
    settings = quiet(spool, limits={"instance_bytes": 100_000})
    images[0].PixelData = bytes(4_000_000)
    with running(settings) as log:
        association = associate(settings, [(MRImageStorage, ExplicitVRLittleEndian)])
        assert "Status" not in association.send_c_store(images[0])
        wait(lambda: refusals(log) == ["association ended within an instance"])
        assert list((spool / "receiving").iterdir()) == []
        assert send(settings, images[1:]) == [STORED] * 2


def test_a_study_with_too_many_instances_is_refused_and_logged(spool, images):
    settings = quiet(spool, limits={"study_instances": 2})
    with running(settings) as log:
        assert send(settings, images) == [STORED, STORED, 0xC000]
        assert refusals(log) == ["too many instances in the study"]


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"free_bytes": 1 << 60}, "disk low"),
        ({"spool_bytes": 1000, "instance_bytes": 1000}, "spool full"),
    ],
)
def test_where_there_is_no_room_images_are_refused_and_logged(
    limits, why, spool, images, monkeypatch
):
    monkeypatch.setattr(Room, "used", lambda self: 1000)
    settings = quiet(spool, limits=limits)
    with running(settings) as log:
        assert send(settings, images) == [0xA700] * 3
        assert refusals(log) == [why] * 3
        assert held(spool) == []


def test_a_flood_of_associations_is_refused_and_logged_and_the_node_lives_on(spool):
    settings = quiet(spool, limits={"associations": 2})
    with running(settings) as log:
        contexts = [(MRImageStorage, ExplicitVRLittleEndian)]
        kept = [associate(settings, contexts) for _ in range(2)]
        assert all(one.is_established for one in kept)
        others = [associate(settings, contexts) for _ in range(3)]
        assert all(one.is_rejected for one in others)
        assert refusals(log) == ["too many associations"] * 3
        for one in kept:
            one.release()
        assert wait(lambda: echo(settings) is not None)


def test_a_flood_of_bare_connections_is_cut_off_and_times_out(spool):
    settings = quiet(spool, limits={"associations": 2, "association_s": 1.0})
    with running(settings) as log:
        flood = [socket.create_connection((ADDRESS, settings.port)) for _ in range(40)]
        wait(lambda: "too many connections" in refusals(log))
        assert sum("Acceptor" in thread.name for thread in threading.enumerate()) <= 12
        assert wait(lambda: echo(settings) is not None, 30)
        for one in flood:
            one.close()


@pytest.mark.parametrize("sent", [b"", b"\x01\x00\x00\x00\x01\x00abc"])
def test_connections_that_were_closed_without_a_request_hold_nobody_s_place(sent, spool):
    settings = quiet(spool, limits={"associations": 2})
    with running(settings):
        # as a monitor does that looks whether the port is open
        for _ in range(10):
            with socket.create_connection((ADDRESS, settings.port)) as raw:
                raw.sendall(sent)
        # some may wait to be accepted still; one that is held is held for association_s
        assert settings.limits.association_s > 20
        assert wait(lambda: echo(settings) == STORED, 10)


@pytest.mark.parametrize("length", [0xFFFFFFFF, 1 << 21])
def test_a_unit_that_announces_too_many_bytes_is_cut_off(length, spool):
    settings = quiet(spool)
    with running(settings), socket.create_connection((ADDRESS, settings.port)) as raw:
        raw.settimeout(10)
        raw.sendall(struct.pack(">BBL", 1, 0, length) + b"x" * 100)
        start = time.monotonic()
        while raw.recv(4096):
            pass
        assert time.monotonic() - start < 5
        assert echo(settings) == STORED


def test_garbage_ends_its_own_connection_alone(spool):
    settings = quiet(spool)
    with running(settings) as log:
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\x00\x00\x00\x04abcd", bytes(300)):
            with socket.create_connection((ADDRESS, settings.port)) as raw:
                raw.sendall(garbage)
        assert echo(settings) == STORED
        assert log.events("internal") == []


def unit(kind, body):
    return struct.pack(">BBI", kind, 0, len(body)) + body


def value(context, flags, content):
    return unit(4, struct.pack(">IBB", len(content) + 2, context, flags) + content)


def command(**changes):
    """A C-STORE request, with these elements changed or (None) left out."""
    request = {
        "AffectedSOPClassUID": MRImageStorage,
        "CommandField": 0x0001,
        "MessageID": 1,
        "Priority": 0,
        "CommandDataSetType": 1,
        "AffectedSOPInstanceUID": "1.2.3",
    }
    elements = pydicom.Dataset()
    for keyword, content in {**request, **changes}.items():
        if content is not None:
            setattr(elements, keyword, content)
    return encode(elements, True, True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize(
    "malformed",
    [
        value(1, 3, command(CommandField=None)),
        value(1, 3, command(CommandField=0x7777)),
        value(1, 3, command(CommandDataSetType=None)),
        value(1, 3, command(CommandDataSetType=0x0101)),
        value(1, 3, command(AffectedSOPInstanceUID=None)) + value(1, 2, bytes(50)),
        value(1, 3, command()) + value(1, 2, bytes(50)),
        value(9, 3, command()) + value(9, 2, bytes(50)),
        value(1, 3, b"\xff" * 40),
        value(1, 2, b"data before its command"),
        unit(4, bytes(4)),
        unit(4, b""),
        unit(1, b""),
    ],
    ids=range(12),
)
def test_a_malformed_message_is_not_taken_and_ends_nothing_but_its_association(malformed, spool):
    timeouts = {"association_s": 1.0, "network_s": 1.0, "message_s": 1.0}
    settings = quiet(spool, limits=timeouts)
    others = set(threading.enumerate())
    with running(settings):
        association = associate(settings, [(MRImageStorage, "1.2.840.10008.1.2")])
        association.dul.socket.socket.sendall(malformed)
        wait(lambda: not any("Acceptor" in t.name for t in {*threading.enumerate()} - others))
        association.abort()
        assert echo(settings) == STORED
        assert held(spool) == []


def test_a_peer_that_vanishes_within_an_image_leaves_nothing(spool, images):
    settings = quiet(spool)
    with running(settings) as log:
        association = associate(settings, [(MRImageStorage, ExplicitVRLittleEndian)])
        transport = association.dul.socket
        sent, whole = [], transport.send

        def half(data):
            sent.append(data)
            if len(sent) == 2:
                transport.socket.sendall(data[: len(data) // 2])
                transport.socket.shutdown(socket.SHUT_RDWR)
            else:
                whole(data)

        transport.send = half
        images[0].PixelData *= 40
        images[0].Rows *= 40
        association.send_c_store(images[0])
        wait(lambda: list((spool / "receiving").iterdir()) == [] and log.events("refused"))
        assert held(spool) == []
        assert echo(settings) == STORED


def test_no_patient_data_is_logged(spool, images):
    images[1].PixelData = images[1].PixelData[:-100]
    settings = quiet(spool)
    with running(settings) as log:
        send(settings, images)
    assert CANARY in str(images[0])
    assert CANARY not in log.getvalue()


def test_a_port_that_is_taken_is_told(spool):
    with socket.socket() as taken:
        taken.bind((ADDRESS, 0))
        taken.listen()
        settings = quiet(spool, port=taken.getsockname()[1])
        with pytest.raises(OutputError, match="cannot be listened at"), running(settings):
            pass


def tls(folder, name):
    names = {"certificate": f"{name}.pem", "key": f"{name}.key", "authority": "good-ca.pem"}
    return {field: folder / file for field, file in names.items()}


def client(folder, name):
    context = ssl.create_default_context(cafile=str(folder / "good-ca.pem"))
    if name:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def test_with_tls_both_sides_show_a_certificate_of_the_authority(spool, images, certificates):
    settings = quiet(spool, tls=tls(certificates, "good"))
    with running(settings) as log:
        good = {"tls_args": (client(certificates, "good"), ADDRESS)}
        assert send(settings, images, **good) == [STORED] * 3
        assert echo(settings) is None
        for name in ("", "bad"):
            assert echo(settings, tls_args=(client(certificates, name), ADDRESS)) is None
        old = client(certificates, "good")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        assert echo(settings, tls_args=(old, ADDRESS)) is None
        wait(lambda: refusals(log).count("no TLS") >= 3)
        assert echo(settings, **good) == STORED


def test_a_peer_that_is_silent_in_the_handshake_keeps_nobody_waiting(spool, certificates):
    settings = quiet(spool, tls=tls(certificates, "good"))
    good = {"tls_args": (client(certificates, "good"), ADDRESS)}
    with running(settings) as log:
        with socket.create_connection((ADDRESS, settings.port)):
            start = time.monotonic()
            assert echo(settings, **good) == STORED
            assert time.monotonic() - start < settings.limits.association_s / 3
        wait(lambda: refusals(log) == ["no TLS"])


def test_a_handshake_that_does_not_end_is_cut_off(spool, certificates):
    limits = {"association_s": 0.5}
    settings = quiet(spool, tls=tls(certificates, "good"), limits=limits)
    with running(settings) as log, socket.create_connection((ADDRESS, settings.port)):
        wait(lambda: refusals(log) == ["no TLS"])


def test_a_flood_of_silent_handshakes_is_cut_off(spool, certificates):
    settings = quiet(spool, tls=tls(certificates, "good"), limits={"associations": 2})
    with running(settings) as log:
        flood = [socket.create_connection((ADDRESS, settings.port)) for _ in range(40)]
        wait(lambda: refusals(log).count("no TLS") >= 30)
        for one in flood:
            one.close()
        wait(lambda: refusals(log).count("no TLS") == 40)
        assert echo(settings, tls_args=(client(certificates, "good"), ADDRESS)) == STORED


def test_a_certificate_that_does_not_fit_its_key_is_told(spool, certificates):
    wrong = {**tls(certificates, "good"), "key": certificates / "bad.key"}
    settings = quiet(spool, tls=wrong)
    with pytest.raises(UsageError, match="cannot be used together"), running(settings):
        pass
