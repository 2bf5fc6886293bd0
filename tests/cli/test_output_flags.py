from dataclasses import fields

import pydicom
import pytest
from dicom_study import CANARY
from mr_study import write_mr_study
from tiny_bundle import write_tiny_bundle

from mrct_cli import boundary, main
from mrct_cli.infer import infer
from mrct_cli.output_flags import outputs
from mrct_runtime.outputs import Outputs

QUICK = ("--steps", "20", "--mc", "2", "--quiet")


@pytest.fixture
def studied(tmp_path, monkeypatch):
    """The words for a quick run, in an empty current folder that has the study."""
    monkeypatch.chdir(tmp_path)
    write_mr_study(tmp_path / CANARY)
    return [CANARY, "--bundle", str(write_tiny_bundle(tmp_path / "tiny.mrct", size=24)), *QUICK]


def run(*arguments):
    return boundary.run(main.load("infer"), "mrct-infer", [str(a) for a in arguments])


def test_every_field_of_the_outputs_is_a_flag_of_the_same_name_and_default():
    with infer.make_context("mrct-infer", ["study"]) as context:
        assert outputs(context) == Outputs()
    names = {option for parameter in infer.params for option in parameter.opts}
    assert {f"--{field.name}" for field in fields(Outputs)} <= names


def test_the_flags_reach_the_outputs():
    words = "--maps --page --contour seg --spacing 1.5 --deidentify --kvp 120"
    with infer.make_context("mrct-infer", ["study", *words.split()]) as context:
        assert outputs(context) == Outputs(
            maps=True, page=True, contour="seg", spacing=1.5, deidentify=True, kvp=120.0
        )


def test_what_is_asked_for_is_written(studied, tmp_path):
    assert run(*studied, "out", "--maps", "--contour", "rtstruct", "--page", "--kvp", "120") == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"sct", "std", "page", "body_rtstruct.dcm", "run.json"} <= names
    assert pydicom.dcmread(tmp_path / "out/sct/CT.0001.dcm").KVP == 120


def test_a_deidentified_run_names_the_study_nowhere(studied, tmp_path):
    assert run(*studied, "--deidentify", "--maps") == 0
    out = tmp_path / "deidentified-sct"
    for path in out.rglob("*"):
        assert CANARY not in path.name
        assert path.is_dir() or CANARY.encode() not in path.read_bytes()


@pytest.mark.parametrize("flag", [("--kvp", "-1"), ("--spacing", "0"), ("--spacing", "1000")])
def test_nonsense_is_a_usage_error_before_anything_is_sampled(studied, tmp_path, flag, capsys):
    assert run(*studied, "out", *flag) == 2
    assert flag[0].removeprefix("--") in capsys.readouterr().err
    assert run(*studied, "out", *flag, "--dry-run") == 2
    assert not (tmp_path / "out").exists()
