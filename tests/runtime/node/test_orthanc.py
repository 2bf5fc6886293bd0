"""With a real server on the other side: what it is sent and gives back, what it sends and gets."""

import json
import random
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_network import wait
from orthanc import PEER, orthanc, serve
from pydicom.uid import ParametricMapStorage
from tiny_bundle import write_tiny_bundle

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "study" / "mr"
FEW = ("--sampler", "dpmpp", "--steps", "4", "--mc", "2")
SLICES = 10
# When a node is killed: at a random moment of so many seconds after it told this.
MOMENTS = (
    *[("listening", 1.5)] * 3,
    *[("translating", 2.0)] * 3,
    ("translated", 0.3),
    *[("listening", 0.4)] * 3,
)
STATES = ("incoming", "queued", "running", "sending", "done", "failed")


@pytest.fixture
def server(tmp_path):
    with orthanc(tmp_path / "orthanc") as server:
        yield server


def pixels(image):
    return next(
        bytes(image[name].value) for name in ("PixelData", "FloatPixelData") if name in image
    )


def events(log, name):
    found = []
    for line in log.read_text().splitlines():
        with suppress(ValueError):  # a kill may cut a line
            found.append(json.loads(line))
    return [event for event in found if event["event"] == name]


def test_a_result_comes_back_from_the_server_bit_identical_in_pixel_data(server, tmp_path):
    out = tmp_path / "out"
    script = "from mrct_cli.main import main_infer; main_infer()"
    words = [sys.executable, "-c", script, EXAMPLE, out, *FEW, "--quiet"]
    subprocess.run([str(word) for word in words], check=True, timeout=120)
    written = [pydicom.dcmread(path) for path in sorted(out.rglob("*.dcm"))]
    ours = {image.SOPInstanceUID: image for image in written}
    assert len(ours) == SLICES + 1
    server.upload(out)

    study = written[0].StudyInstanceUID
    series = {image.SeriesInstanceUID for image in written}
    keys = ("-S", "-k", "QueryRetrieveLevel=SERIES", "-k", f"StudyInstanceUID={study}")
    found = server.dcmtk("findscu", *keys, "-k", "SeriesInstanceUID", "-k", "Modality")
    assert all(uid in found for uid in series)

    moved = tmp_path / "moved"
    moved.mkdir()
    server.listen(moved)
    for uid in series:
        server.dcmtk("movescu", "-aem", PEER, *keys, "-k", f"SeriesInstanceUID={uid}")
    by_move = [pydicom.dcmread(path) for path in moved.iterdir()]
    by_rest = [server.image(name) for name in server.get("/instances")]
    for theirs in (by_move, by_rest):
        assert {image.SOPInstanceUID for image in theirs} == set(ours)
        for image in theirs:
            assert pixels(image) == pixels(ours[image.SOPInstanceUID])


def test_a_server_sends_a_real_study_and_gets_ct_and_map_back_in_it(server, tmp_path, shared_data):
    study = shared_data / "prostatex_mr_dicom" / "ProstateX" / "ProstateX-0000"
    t2w = next(study.glob("*/4.*"))
    log = tmp_path / "log"
    log.touch()
    (known,) = server.upload(study)
    sent = len(server.get("/instances"))
    serve(server.network, tmp_path / "spool", log, "--quiet-s", "2", "--", *FEW)
    wait(lambda: events(log, "listening"))
    assert server.push(known)
    wait(lambda: events(log, "sent"), 90)
    assert [event["instances"] for event in events(log, "complete")] == [sent]
    results = [server.image(name) for name in server.made_here(known)]
    ct = [image for image in results if image.Modality == "CT"]
    (std,) = (image for image in results if image.Modality != "CT")
    assert std.SOPClassUID == ParametricMapStorage
    source = {
        image.SOPInstanceUID: image for image in map(pydicom.dcmread, sorted(t2w.glob("*.dcm")))
    }
    assert len(ct) == len(source)
    assert {image.SeriesInstanceUID for image in ct} == {ct[0].SeriesInstanceUID}
    for image in ct:
        mr = source[image.SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert image.StudyInstanceUID == mr.StudyInstanceUID
        assert image.FrameOfReferenceUID == mr.FrameOfReferenceUID
        assert np.allclose(image.ImagePositionPatient, mr.ImagePositionPatient, atol=1e-4)
    assert (std.StudyInstanceUID, std.NumberOfFrames) == (ct[0].StudyInstanceUID, len(ct))
    told = log.read_text()
    patient = next(iter(source.values()))
    assert str(patient.PatientName) not in told
    assert str(patient.PatientID) not in told


def test_killed_at_ten_random_moments_a_node_ends_with_exactly_one_result(server, tmp_path):
    bundle = write_tiny_bundle(tmp_path / "tiny.mrct", size=24)
    spool, log = tmp_path / "spool", tmp_path / "log"
    log.touch()
    (known,) = server.upload(EXAMPLE)
    given = set(server.get("/instances"))
    options = ("--quiet-s", "1", "--bundle", bundle, "--", *FEW)
    sent = threading.Event()

    def push():
        """A server tries again what was not acknowledged."""
        while not server.push(known):
            time.sleep(0.2)
        sent.set()

    sender = threading.Thread(target=push)
    sender.start()
    draw, reached = random.Random(6), []
    for event, within_s in MOMENTS:
        before = len(events(log, event))
        node = serve(server.network, spool, log, *options)
        wait(lambda: _told(log, event, before), 60)  # noqa: B023
        time.sleep(draw.uniform(0, within_s))
        reached += [state for state in STATES if any((spool / state).glob("*"))]
        node.kill()
        node.wait()
    serve(server.network, spool, log, *options)
    wait(sent.is_set, 60)
    sender.join()
    wait(lambda: list((spool / "done").glob("*")), 60)
    time.sleep(3)  # what would be a second job had begun
    assert [len(list((spool / state).glob("*"))) for state in STATES] == [0, 0, 0, 0, 1, 0], reached
    results = [server.image(name) for name in server.made_here(known)]
    assert len(results) == SLICES + 1
    assert len({image.SeriesInstanceUID for image in results}) == 2
    written = {
        pydicom.dcmread(path).SOPInstanceUID for path in spool.glob("done/*/result/**/*.dcm")
    }
    assert {image.SOPInstanceUID for image in results} == written
    assert given <= set(server.get("/instances"))


def _told(log, event, before):
    """True if a new event came, or if it will not: what is translated is not translated again."""
    past = event != "listening" and events(log, "translated")
    return len(events(log, event)) > before or past
