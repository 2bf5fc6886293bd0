import json
import ssl
import urllib.error
import urllib.request
from collections import Counter

import pydicom
import pytest
from dicom_network import (
    ADDRESS,
    Destination,
    associate,
    config,
    echo,
    free_port,
    running,
    send,
    wait,
)
from dicom_study import CANARY, STUDY_UID, make_grid, write_series
from fake_infer import FILES
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian, MRImageStorage, ParametricMapStorage

from mrct_runtime.node.spool import JOB_STATES, claimed

pytestmark = [
    pytest.mark.usefixtures("collected"),
    pytest.mark.filterwarnings("ignore:unclosed <.*socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning"),
]
CLASSES = (CTImageStorage, ParametricMapStorage)


@pytest.fixture
def images(tmp_path):
    paths = write_series(tmp_path / "study", make_grid((3, 24, 30)))
    return [pydicom.dcmread(path) for path in paths]


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "spool"


def states(spool):
    return {state: len(list((spool / state).iterdir())) for state in JOB_STATES}


def ended(log, state="sent"):
    return [event["ending"] for event in log.events(state)]


def asked(port):
    try:
        with urllib.request.urlopen(f"http://{ADDRESS}:{port}/health", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_study_in_is_a_synthetic_ct_and_its_map_out_in_one_association(spool, images):
    with Destination(CLASSES) as destination:
        settings = config(spool, destination.port)
        with running(settings) as log:
            assert send(settings, images) == [0] * 3
            wait(lambda: ended(log) == ["done"])
    assert len({arrival[0] for arrival in destination.arrivals}) == 1
    kinds = Counter(image.SOPClassUID for image in destination.images.values())
    assert kinds == {CTImageStorage: 2, ParametricMapStorage: 1}
    assert {image.StudyInstanceUID for image in destination.images.values()} == {STUDY_UID}
    assert states(spool)["done"] == 1
    assert CANARY not in log.getvalue()


def test_a_study_in_several_associations_is_one_job(spool, images):
    with Destination(CLASSES) as destination:
        settings = config(spool, destination.port)
        with running(settings) as log:
            for image in images:
                assert send(settings, [image]) == [0]
            wait(lambda: ended(log))
            assert [event["instances"] for event in log.events("complete")] == [3]


def test_the_same_study_again_is_not_translated_again(spool, images):
    with Destination(CLASSES) as destination:
        settings = config(spool, destination.port)
        with running(settings) as log:
            send(settings, images)
            wait(lambda: ended(log))
            send(settings, images)
            wait(lambda: log.events("known"))
        with running(settings) as log:
            send(settings, images)
            wait(lambda: log.events("known"))
            assert log.events("translating") == []
    assert len(destination.images) == len(FILES)


def test_without_a_destination_results_wait_and_are_sent_when_it_is_there(spool, images):
    port = free_port()
    settings = config(spool, port, sending_retries={"attempts": 99, "first_s": 0.1, "longest_s": 1})
    with running(settings) as log:
        send(settings, images)
        wait(lambda: ended(log).count("retry") >= 2)
        assert states(spool)["sending"] == 1
    with Destination(CLASSES) as destination:
        values = settings.model_copy(
            update={
                "destination": settings.destination.model_copy(update={"port": destination.port})
            }
        )
        with running(values) as log:
            wait(lambda: "done" in ended(log))
        assert log.events("translating") == []
    assert len(destination.images) == len(FILES)


def test_after_so_many_attempts_a_result_is_kept_as_failed(spool, images):
    settings = config(spool, free_port())
    with running(settings) as log:
        send(settings, images)
        wait(lambda: log.events("failed"))
        assert ended(log) == ["retry"] * 3
    assert states(spool) == {"queued": 0, "running": 0, "sending": 0, "done": 0, "failed": 1}
    assert len(list((spool / "failed").glob("*/result/sct/*.dcm"))) == 2


def test_what_was_acknowledged_is_not_sent_again(spool, images):
    refuse = [True]

    def status(image):
        return 0xA700 if image.SOPClassUID == ParametricMapStorage and refuse else 0x0000

    with Destination(CLASSES, status) as destination:
        settings = config(spool, destination.port)
        with running(settings) as log:
            send(settings, images)
            wait(lambda: "retry" in ended(log))
            refuse.clear()
            wait(lambda: "done" in ended(log))
        stored = Counter(uid for _, uid, status in destination.arrivals if status == 0)
    assert set(stored.values()) == {1}
    assert len(stored) == len(FILES)


def test_a_destination_that_takes_the_default_transfer_syntax_alone_gets_it(spool, images):
    with Destination(CLASSES, syntax=ImplicitVRLittleEndian) as destination:
        settings = config(spool, destination.port)
        with running(settings) as log:
            send(settings, images)
            wait(lambda: ended(log) == ["done"])
    syntaxes = {image.file_meta.TransferSyntaxUID for image in destination.images.values()}
    assert syntaxes == {ImplicitVRLittleEndian}
    written = {str(pydicom.dcmread(p).SOPInstanceUID) for p in spool.glob("done/*/result/**/*.dcm")}
    assert set(destination.images) == written


@pytest.mark.parametrize("status", [0xB000, 0xB007])
def test_a_warning_counts_as_stored(status, spool, images):
    with Destination(CLASSES, lambda image: status) as destination:
        settings = config(spool, destination.port)
        with running(settings) as log:
            send(settings, images)
            wait(lambda: ended(log) == ["done"])
        assert len(destination.arrivals) == len(FILES)


def test_a_destination_may_be_allowed_to_refuse_a_class(spool, images):
    with Destination([CTImageStorage]) as destination:
        settings = config(spool, destination.port)
        allowed = settings.destination.model_copy(update={"may_refuse": (ParametricMapStorage,)})
        with running(settings.model_copy(update={"destination": allowed})) as log:
            send(settings, images)
            wait(lambda: ended(log) == ["done"])
        assert log.events("sent")[0]["told"] == "2 instances, 1 refused"


def test_a_destination_that_takes_no_map_is_a_failure_by_default(spool, images):
    with Destination([CTImageStorage]) as destination:
        settings = config(spool, destination.port)
        with running(settings) as log:
            send(settings, images)
            wait(lambda: log.events("failed"))
            assert "not taken" in log.events("sent")[0]["told"]
        assert len(destination.images) == 2


def test_a_study_that_cannot_be_translated_fails_without_its_words_in_the_log(spool, images):
    settings = config(spool, infer=["--exit=4"])
    with running(settings) as log:
        send(settings, images)
        wait(lambda: log.events("failed"))
    (event,) = log.events("translated")
    assert (event["ending"], event["told"]) == ("refused", "exit code 4: input refused")
    assert "on purpose" not in log.getvalue()
    (record,) = (spool / "failed").glob("*/job.json")
    assert "refused on purpose" in record.read_text()


def test_a_stop_puts_a_translation_back_in_the_queue(spool, images):
    settings = config(spool, infer=["--sleep=60"])
    with running(settings) as log:
        send(settings, images)
        wait(lambda: log.events("translating"))
    assert states(spool)["queued"] == 1
    assert ended(log, "translated") == ["stopped"]
    with claimed(spool):
        pass


@pytest.mark.parametrize(("shown", "ending"), [("good", "done"), ("bad", "retry")])
def test_a_destination_with_tls_shows_a_certificate_of_the_authority(
    shown, ending, spool, images, certificates
):
    theirs = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "good-ca.pem")
    )
    theirs.load_cert_chain(certificates / f"{shown}.pem", certificates / f"{shown}.key")
    theirs.verify_mode = ssl.CERT_REQUIRED
    names = {"certificate": "good.pem", "key": "good.key", "authority": "good-ca.pem"}
    tls = {**{field: certificates / name for field, name in names.items()}, "receive": False}
    with Destination(CLASSES, ssl_context=theirs) as destination:
        settings = config(spool, destination.port, tls=tls)
        with running(settings) as log:
            send(settings, images)
            wait(lambda: ended(log))
            assert ended(log)[0] == ending
    assert bool(destination.images) is (ending == "done")


def test_health_is_told_by_http_on_loopback_and_in_a_file(spool, images):
    port = free_port()
    settings = config(spool, health_port=port, infer=["--sleep=60"])
    with running(settings) as log:
        send(settings, images)
        wait(lambda: log.events("translating"))
        status, health = asked(port)
        assert log.events("internal") == []
        assert (status, health["ok"], health["running"], health["received"]) == (200, True, 1, 3)
        wait(lambda: json.loads((spool / "health.json").read_text())["running"] == 1)
    health = json.loads((spool / "health.json").read_text())
    assert (health["ok"], health["fault"]) == (False, "stopped")


def test_a_node_without_room_says_so_with_503(spool):
    port = free_port()
    settings = config(spool, health_port=port, limits={"free_bytes": 1 << 60})
    with running(settings):
        status, health = asked(port)
        assert (status, health["fault"]) == (503, "disk low")
        assert echo(settings) == 0


def test_no_class_but_mr_is_ever_taken(spool):
    settings = config(spool)
    with running(settings):
        contexts = [(kind, "1.2.840.10008.1.2") for kind in (*CLASSES, MRImageStorage)]
        association = associate(settings, contexts)
        assert [c.abstract_syntax for c in association.accepted_contexts] == [MRImageStorage]
        association.release()
