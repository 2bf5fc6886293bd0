"""mrct bench and mrct doctor where there is a GPU, as far as that can be had without one: see support/pretend_gpu."""

import json
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

from mrct_cli import boundary
from mrct_cli.main import mrct
from mrct_runtime.engines import ENGINES, Entry

SUPPORT = Path(__file__).parents[1] / "support/pretend_gpu"
QUICK = ("--quick", "--batches", "1,2", "--turn", "0.02", "--warm-up", "0.02", "--no-baselines")


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SUPPORT)
    # restored as a whole: one that is taken out and put back again would be the last
    before = dict(ENGINES)
    for name, entry in before.items():
        if entry.serves == "cuda":
            del ENGINES[name]
    ENGINES["pretended"] = Entry("pretend_backend:open_pretended", "cuda")
    yield write_tiny_bundle(tmp_path / "tiny.mrct")
    ENGINES.clear()
    ENGINES.update(before)


def test_only_what_serves_the_gpu_is_measured_there_with_events_and_memory(bundle, capsys):
    arguments = ["bench", str(bundle), *QUICK, "--device", "cuda", "--json", "-"]
    assert boundary.run(mrct, "mrct", arguments) == 0
    document = json.loads(capsys.readouterr().out)
    rows = [row for row in document["evaluations"] if row["kind"] == "engine"]
    assert {row["candidate"] for row in rows} == {"pretended fp32"}
    assert {row["device"] for row in rows} == {"cuda:0"}
    assert document["gpus"][0]["name"] == "Pretend 9000"
    assert document["memory"]["pretended fp32"]["device"] > 0
    (one,) = document["slices"]
    assert one["copies_to_host"] == 3  # whether all is finite, mean, deviation
    assert one["device_memory"] > 0
    assert one["pool"] == 5 << 20


def test_the_doctor_tells_the_gpu_and_a_verdict_on_its_backend(bundle, capsys):
    assert boundary.run(mrct, "mrct", ["doctor", str(bundle), "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gpus"][0]["compute_capability"] == "9.0"
    (verdict,) = (v for v in found["verdicts"] if v["backend"] == "pretended")
    assert verdict["sound"]
    assert verdict["device"] == "cuda:0"
    assert found["gpu_hint"] == []
