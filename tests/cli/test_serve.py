import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pydicom
import pytest
from dicom_network import ADDRESS, associate, config, echo, free_port, send, wait
from pydicom.uid import MRImageStorage
from tiny_bundle import write_tiny_bundle

from mrct_cli import boundary, main
from mrct_cli.serve import configured
from mrct_runtime.node import network
from mrct_runtime.node.configuration import Limits

LEAST = ("--caller", "PEER", "--destination", "PACS@127.0.0.1:104")


def run(*arguments):
    return boundary.run(main.load("serve"), "mrct serve", [str(a) for a in arguments])


def started(*arguments):
    script = "import sys; from mrct_cli.main import main; sys.argv[0] = 'mrct'; main()"
    words = [sys.executable, "-c", script, "serve", *map(str, arguments)]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


def test_flags_take_precedence_over_the_file(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text(
        'spool = "spool"\ntitle = "FILE"\nport = 4001\ninfer = ["--mc", "4"]\n'
        '[[callers]]\ntitle = "A"\n[destination]\ntitle = "P"\nhost = "h"\nport = 104\n'
    )
    flags = {
        "port": 4002,
        "callers": ("B@10.0.0.1", "C"),
        "destination": "Q@[::1]:105",
        "title": None,
        "infer": (),
    }
    made = configured(path, flags)
    assert (made.title, made.port, made.infer) == ("FILE", 4002, ("--mc", "4"))
    assert [(c.title, c.addresses) for c in made.callers] == [("B", ("10.0.0.1",)), ("C", ())]
    assert (made.destination.title, made.destination.host, made.destination.port) == (
        "Q",
        "::1",
        105,
    )


def test_the_example_is_a_configuration():
    example = Path(__file__).resolve().parents[2] / "examples" / "node.toml"
    made = configured(example, {})
    assert made.limits == Limits()
    assert (made.quiet_s, made.max_age_s, made.keep_days) == (30, 3600, 7)
    assert made.allows("ORTHANC", "127.0.0.1")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "serve needs --caller, --destination, as flags or by --config FILE"),
        (("--caller", "A"), "serve needs --destination, as flags"),
        ((*LEAST[:2], "--destination", "PACS"), "--destination is TITLE@HOST:PORT, got PACS"),
        ((*LEAST, "--port", "70000"), "port: "),
        ((*LEAST, "--", "--smapler", "em"), "infer: No such option"),
        ((*LEAST, "--", "--overwrite"), "infer: --overwrite is the node's own"),
        ((*LEAST, "--", "--bundle", "x.mrct"), "infer: --bundle is the node's own"),
        ((*LEAST, "--", "third"), "infer: Got unexpected extra argument"),
    ],
)
def test_what_makes_no_sense_ends_with_2_and_one_line(words, told, tmp_path, capsys):
    assert run("--spool", tmp_path / "spool", *words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert told in lines[0]
    assert not (tmp_path / "spool").exists()


def test_a_bundle_that_is_none_ends_with_5_before_anything_is_received(tmp_path, capsys):
    assert run("--spool", tmp_path / "spool", *LEAST, "--bundle", tmp_path) == 5


def test_without_pynetdicom_the_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    assert run("--spool", tmp_path / "spool", *LEAST) == 2
    assert "pip install 'mrct[serve]'" in capsys.readouterr().err
    monkeypatch.undo()
    assert network.pynetdicom() is sys.modules["pynetdicom"]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_a_node_within_ten_seconds(sent, code, tmp_path):
    bundle = write_tiny_bundle(tmp_path / "tiny.mrct")
    port = free_port()
    spool = tmp_path / "spool"
    words = ("--spool", spool, "--port", port, *LEAST, "--bundle", bundle, "--json-log")
    with started(*words, "--", "--mc", "2") as node:
        first = json.loads(node.stderr.readline())
        assert first["event"] == "listening"
        settings = config(spool, port=port)
        assert echo(settings) == 0
        peers = [socket.create_connection((ADDRESS, port)) for _ in range(2)]
        peers[1].sendall(b"\x01\x00\x00\x00\x01\x00and no more")
        idle = associate(settings, [(MRImageStorage, "1.2.840.10008.1.2")])
        start = time.monotonic()
        node.send_signal(sent)
        rest = [json.loads(line)["event"] for line in node.stderr]
        assert node.wait(20) == code
        assert time.monotonic() - start < 10
    idle.abort()
    for peer in peers:
        peer.close()
    assert rest == ["stopping", "stopped"]


def test_a_second_node_on_the_same_spool_ends_with_6(tmp_path, capsys):
    with started("--spool", tmp_path / "spool", "--port", free_port(), *LEAST) as node:
        assert "listening" in node.stderr.readline()
        assert run("--spool", tmp_path / "spool", "--port", free_port(), *LEAST) == 6
        assert "another running node" in capsys.readouterr().err
        node.terminate()
        node.communicate(timeout=20)


@pytest.mark.slow
def test_a_killed_nodes_translation_goes_on_where_it_stood(tmp_path):
    example = Path(__file__).resolve().parents[2] / "examples" / "study" / "mr"
    spool, port = tmp_path / "spool", free_port()
    words = ("--spool", spool, "--port", port, *LEAST, "--quiet-s", "1", "--json-log")
    infer = ("--", "--sampler", "em", "--steps", "20", "--mc", "2", "--batch", "2")

    def finished():
        """The slices that the journal of the running job has."""
        logs = list(spool.glob("running/*/.result.work/journal/log.jsonl"))
        return logs[0].read_text().count('{"slice"') if logs else 0

    with started(*words, *infer) as node:
        wait(lambda: "listening" in node.stderr.readline())
        images = [pydicom.dcmread(path) for path in sorted(example.iterdir())]
        assert send(config(spool, port=port), images) == [0] * len(images)
        kept = wait(lambda: finished() >= 2 and finished(), 60)
        node.kill()
    with started(*words, *infer) as node:
        counts = []
        while not list(spool.glob("sending/*/result/run.json")):
            counts.append(finished())
            time.sleep(0.01)
            assert len(counts) < 10_000
        node.terminate()
        node.communicate(timeout=20)
    (run_file,) = spool.glob("sending/*/result/run.json")
    assert json.loads(run_file.read_text())["counters"]["samples"] == [2] * len(images)
    # the journal is taken over as it is, never begun anew; there is none while the job changes its state
    assert min(count for count in counts if count) >= kept
    assert max(counts) > kept
