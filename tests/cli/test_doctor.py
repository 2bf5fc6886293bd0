import json

import pytest
from tiny_bundle import write_tiny_bundle

from mrct_cli import boundary
from mrct_cli.main import mrct
from mrct_runtime.bundle import Bundle
from mrct_runtime.demonstration import demonstration_bundle
from mrct_runtime.engines import ENGINES, Entry
from mrct_runtime.errors import BundleError, EngineError, OutputError


@pytest.fixture
def bundle(tmp_path):
    return write_tiny_bundle(tmp_path / "tiny.mrct")


def doctor(*arguments):
    return boundary.run(mrct, "mrct", ["doctor", *map(str, arguments)])


def test_a_table_tells_versions_machine_and_verdicts(bundle, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert doctor(bundle) == 0
    out = capsys.readouterr().out
    assert f"tiny, sha256 {Bundle.load(bundle).sha256}" in out
    for word in ("onnxruntime", "sound", "off the golden", "numpy", "cores", "free of", "cpu"):
        assert word in out


def test_half_precision_is_held_against_its_own_limit(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    bundle = Bundle.load(demonstration_bundle("ddpm"))
    # one that is taken out by itself would come back as the last
    for name in set(ENGINES) - {"onnxruntime"}:
        monkeypatch.setitem(ENGINES, name, Entry("broken_backends:absent", "cpu"))
    assert doctor(bundle.path) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "off the golden" in line]
    for precision, row in zip(("fp32", "fp16"), rows, strict=True):
        assert precision in row
        assert f"{bundle.self_test_limit(precision):.0e} allowed" in row


def test_without_a_bundle_a_demonstration_model_is_taken(capsys):
    assert doctor("--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["bundle"] == "demo-sde"


def test_json_holds_the_verdicts_alone_on_the_standard_output(bundle, capsys):
    assert doctor(bundle, "--json", "-") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sound"]
    assert found["bundle_sha256"] == Bundle.load(bundle).sha256
    (verdict,) = (v for v in found["verdicts"] if v["backend"] == "onnxruntime")
    assert verdict["sound"]
    assert verdict["deviation"] < verdict["limit"]
    assert verdict["reason"] is None


def test_json_goes_to_a_file_beside_the_table(bundle, tmp_path, capsys):
    assert doctor(bundle, "--json", tmp_path / "doctor.json") == 0
    assert json.loads((tmp_path / "doctor.json").read_text())["sound"]
    assert "sound" in capsys.readouterr().out
    assert doctor(bundle, "--json", tmp_path / "no/folder.json") == OutputError.exit_code


def test_a_user_without_a_home_has_no_cache_and_the_rest_is_told(bundle, capsys, homeless):
    assert doctor(bundle, "--json", "-") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["cache"], found["cache_free"]) == (None, None)
    assert "set XDG_CACHE_HOME" in found["cache_reason"]
    assert found["sound"]


def test_no_sound_backend_is_an_unavailable_engine(bundle, monkeypatch, capsys):
    for name in list(ENGINES):
        monkeypatch.setitem(ENGINES, name, Entry("broken_backends:absent", "cpu"))
    assert doctor(bundle) == EngineError.exit_code
    shown = capsys.readouterr()
    assert "not usable" in shown.out
    assert "nonesuch is not installed" in shown.err.splitlines()[-1]


def test_a_bad_bundle_is_an_invalid_bundle(bundle):
    with (bundle / "model.onnx").open("ab") as file:
        file.write(b"\0")
    assert doctor(bundle) == BundleError.exit_code
