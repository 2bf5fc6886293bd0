import json
import os
import subprocess
import sys

import pytest
from random_run import save_run
from shared_graphs import graphs_shared
from tiny_bundle import write_tiny_bundle

from mrct_cli import boundary
from mrct_cli.main import mrct
from mrct_export.export import export
from mrct_runtime.engines import ENGINES, Entry
from mrct_runtime.errors import BundleError, EngineError, UsageError
from mrct_runtime.process import Direct
from mrct_train import baselines

QUICK = ("--quick", "--batches", "1,2", "--turn", "0.02", "--warm-up", "0.02", "--device", "cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny.mrct")


def bench(*arguments):
    return boundary.run(mrct, "mrct", ["bench", *map(str, arguments)])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """An exported network, measured beside PyTorch with its own weights: the folder of what was written."""
    folder = tmp_path_factory.mktemp("measured")
    run = save_run(folder / "run", "sde", preconditioning="residual")
    with graphs_shared():
        path = export(run, folder / "net.mrct")
    flags = ("--json", folder / "bench.json", "--png", folder / "bench.png", "--checkpoint", run)
    assert bench(path, *QUICK, *flags) == 0
    return folder


@pytest.fixture(scope="module")
def document(measured):
    return json.loads((measured / "bench.json").read_text())


def test_every_backend_and_the_baselines_are_measured_on_every_batch(document):
    found = {(row["candidate"], row["batch"]) for row in document["evaluations"]}
    wanted = {"onnxruntime fp32", "PyTorch eager fp32", "PyTorch eager fp32 channels_last"}
    assert found >= {(name, batch) for name in wanted for batch in (1, 2)}
    assert document["refused"] == []


def test_figures_fit_together(document):
    work = document["bundle"]["gflop_an_image"]
    for row in document["evaluations"]:
        seconds = row["p50_ms"] / 1e3
        assert row["images_a_second"] == pytest.approx(row["batch"] / seconds)
        assert row["gflop_s"] == pytest.approx(work * row["batch"] / seconds)
        assert 0 < row["share_of_peak"] < 2
        assert row["runs"] >= len(row["rounds_ms"]) == 3
        assert row["p99_ms"] is None or row["runs"] >= 100
    (eager,) = (
        row
        for row in document["evaluations"]
        if (row["candidate"], row["batch"]) == ("PyTorch eager fp32", 2)
    )
    assert "PyTorch eager fp32" not in eager["times_as_fast_as"]


def test_whole_slices_tell_the_share_outside_the_network(document):
    (row,) = document["slices"]
    assert row["batches"] == 2
    assert row["evaluations"] == 2 * 10
    assert 0 < row["outside"] < 1
    assert row["copies_to_host"] == 3  # whether all is finite, mean, deviation
    assert row["slices_a_second"] == pytest.approx(1 / row["seconds"])
    assert row["peak_rss"] > 10 << 20


def test_weights_machine_versions_and_command_stand_beside(document):
    weights = {row["candidate"]: row["weights"] for row in document["evaluations"]}
    assert weights["PyTorch eager fp32"] == "the bundle's, from its checkpoint"
    assert document["machine"]["cores"] > 0
    assert "torch" in document["versions"]
    assert document["command"].startswith("mrct bench BUNDLE --batches 1,2 --device cpu")
    names = {peak["name"] for peak in document["peaks"]}
    assert {"matrix product fp32, NumPy", "copy", "3x3 convolution fp32, PyTorch"} <= names


def test_the_picture_is_a_png(measured):
    assert (measured / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_a_comparison_prints_ratios_and_tells_other_machines(measured, tiny, capsys):
    old = json.loads((measured / "bench.json").read_text())
    old["machine"]["processor"] = "Another 9000"
    (measured / "old.json").write_text(json.dumps(old))
    flags = ("--no-baselines", "--compare", measured / "old.json")
    assert bench(measured / "net.mrct", *QUICK, *flags) == 0
    shown = capsys.readouterr()
    assert "onnxruntime fp32, batch 1: " in shown.out
    assert "times as fast as before" in shown.out
    assert "not the same conditions: machine processor: Another 9000 then" in shown.err


def test_the_table_has_every_row_and_says_what_it_cannot_tell(tiny, capsys, monkeypatch):
    first = baselines.networks
    monkeypatch.setattr(baselines, "networks", lambda *asked: first(*asked)[:1])
    monkeypatch.setattr(baselines, "peaks", lambda *_: [])
    assert bench(tiny, *QUICK) == 0
    out = capsys.readouterr().out
    for word in ("onnxruntime fp32", "outside the network", "peak: copy", "slices by em, 2 steps"):
        assert word in out
    # the tiny graph has no convolution, and its card no recipe
    assert "not measured: PyTorch eager fp32" in out


def test_a_direct_network_takes_one_evaluation_a_slice(tmp_path, capsys):
    path = write_tiny_bundle(tmp_path / "direct.mrct", Direct())
    assert bench(path, *QUICK, "--no-baselines", "--json", "-") == 0
    (row,) = json.loads(capsys.readouterr().out)["slices"]
    assert (row["batches"], row["evaluations"]) == (1, 1)


def test_a_backend_that_crashes_is_a_line_and_the_sound_one_is_measured(tiny, monkeypatch, capsys):
    monkeypatch.setitem(ENGINES, "crash", Entry("broken_backends:crashing", "cpu"))
    assert bench(tiny, *QUICK, "--no-baselines", "--json", "-") == 0
    document = json.loads(capsys.readouterr().out)
    assert {row["candidate"] for row in document["evaluations"]} == {"onnxruntime fp32"}
    (refusal,) = document["refused"]
    assert refusal["candidate"] == "crash fp32"
    assert "SIGSEGV" in refusal["reason"]


def test_without_any_backend_the_engine_is_unavailable(tiny, monkeypatch):
    for name in list(ENGINES):
        monkeypatch.setitem(ENGINES, name, Entry("broken_backends:absent", "cpu"))
    assert bench(tiny, *QUICK, "--no-baselines") == EngineError.exit_code


@pytest.mark.parametrize(
    "flags",
    [
        ("--batches", "1,x"),
        ("--batches", "0"),
        ("--sampler", "ddpm"),
        ("--minutes", "0"),
        ("--compare", "/no/such/file"),
    ],
)
def test_nonsense_is_refused_before_anything_is_measured(tiny, flags):
    assert bench(tiny, "--no-baselines", "--device", "cpu", *flags) == UsageError.exit_code


def test_a_bad_bundle_is_an_invalid_bundle(tmp_path):
    assert bench(tmp_path, *QUICK) == BundleError.exit_code


def test_without_pytorch_and_onnx_the_engines_are_measured_all_the_same(tiny, monkeypatch, capsys):
    monkeypatch.setattr("mrct_cli.bench_setting.find_spec", lambda _name: None)
    assert bench(tiny, *QUICK, "--json", "-") == 0
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert {row["candidate"] for row in document["evaluations"]} == {"onnxruntime fp32"}
    assert document["bundle"]["no_gflop"] == "onnx is not installed: pip install 'mrct[export]'"
    assert "no baselines: PyTorch is not installed: pip install 'mrct[train]'" in shown.err


def test_help_loads_no_heavy_library():
    probe = "import sys; from mrct_cli.main import load; load('bench'); load('doctor'); print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", probe],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"torch", "onnx", "onnxruntime", "matplotlib", "cupy"} & set(found.stdout.split())
