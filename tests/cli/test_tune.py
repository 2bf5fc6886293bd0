from __future__ import annotations

import json
import subprocess
import sys

import pytest
from fitted import recalibration
from flat_pairs import write_pairs
from tiny_bundle import DEVIATION, write_tiny_bundle

from mrct_cli.boundary import run
from mrct_cli.tune import tune
from mrct_export.bundle_writer import rewrite
from mrct_runtime.bundle import Bundle
from mrct_runtime.process import Direct

QUICK = "--mc", 4, "--reference", 200, "--threads", 1


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_tiny_bundle(tmp_path / "tiny.mrct", size=32, spacing_mm=1.0)
    rewrite(path, presets={"em": {"steps": 60}, "dpmpp": {"steps": 40, "grid": "karras"}})
    return path


@pytest.fixture
def data(tmp_path):
    return write_pairs(tmp_path / "pairs", ("A1", "A2"))


def told(capsys, *argv: object) -> tuple[int, str, str]:
    code = run(tune, "mrct tune", [str(part) for part in argv])
    return code, *capsys.readouterr()


def test_the_fewest_steps_within_the_tolerance_become_the_preset(bundle, data, capsys) -> None:
    code, out, err = told(
        capsys, bundle, data, "--samplers", "em,dpmpp", "--steps", "5,20,100", *QUICK
    )
    assert code == 0, err
    found = json.loads((bundle.parent / "tiny-tune/tuning.json").read_text("utf-8"))
    em, dpmpp = found["curves"]
    assert [point["evaluations"] for point in dpmpp["points"]] == [5, 20, 100]
    # the closed form's spread, of a truth that is the mean: MAE is that of an average of 4 samples
    assert dpmpp["reference"]["mean_std_hu"] == pytest.approx(DEVIATION * 4095 * 0.92, rel=0.08)
    assert dpmpp["points"][1]["spread_ratio"] == pytest.approx(1, abs=0.05)
    assert dpmpp["points"][0]["spread_ratio"] < 0.95
    presets = Bundle.load(bundle).manifest.presets
    assert presets["dpmpp"] == {"steps": 20, "grid": "karras"}
    # Euler-Maruyama needs more than a hundred
    assert presets["em"] == {"steps": 60}
    assert em["chosen"] is None
    # the best of two says nothing of the others
    assert (found["best"], Bundle.load(bundle).sampler) == ("dpmpp", "em")
    assert "nothing within the tolerances; it keeps what it has" in out
    assert "holds the presets now; wrote tiny-tune" in out
    assert (bundle.parent / "tiny-tune/tuning.png").read_bytes()[:4] == b"\x89PNG"


def test_a_tuning_of_all_samplers_chooses_the_one_that_is_taken_where_none_is_named(
    bundle, data, capsys
) -> None:
    quick = "--mc", 4, "--reference", 60, "--steps", 40, "--threads", 1
    code, out, err = told(capsys, bundle, data, *quick)
    assert code == 0, err
    best = json.loads((bundle.parent / "tiny-tune/tuning.json").read_text("utf-8"))["best"]
    assert best in {"ode", "ddim", "dpmpp", "heun", "unipc"}
    assert Bundle.load(bundle).sampler == best
    assert f"best: {best}" in out


def test_a_dry_run_leaves_the_bundle_as_it_is(bundle, data, capsys) -> None:
    before = (bundle / "bundle.json").read_bytes()
    words = bundle, data, "--samplers", "unipc", "--steps", "30", *QUICK, "--dry-run"
    code, out, err = told(capsys, *words)
    assert code == 0, err
    assert "*" in out
    assert "left as it is" in out
    assert (bundle / "bundle.json").read_bytes() == before
    code, _, err = told(capsys, *words)
    assert (code, "add --overwrite" in err) == (6, True)
    code, out, err = told(capsys, *words, "--overwrite", "--quiet")
    assert (code, out.count("\n"), err) == (0, 1, "")
    assert out.startswith("PASSED ")


def test_a_recalibration_that_no_longer_serves_is_told(bundle, data, capsys) -> None:
    rewrite(bundle, uncertainty={"ode": recalibration("ode", mc=4)})
    code, _, err = told(capsys, bundle, data, "--samplers", "ode", *QUICK, "--quiet")
    assert code == 0, err
    assert "the recalibration of ode was fitted at other options" in err
    assert "run `mrct calibrate` again" in err
    preset = Bundle.load(bundle).manifest.presets["ode"]
    assert preset["rtol"] == preset["atol"] < 0.1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--mc", 1), "mc 1 leaves no deviation to compare"),
        (("--steps", "ten"), "'ten' is no list of whole numbers"),
        (("--mae-tolerance", 0), "the tolerance of mae must be finite and above 0"),
        (("--samplers", "ddpm"), "sampler ddpm needs a DDPM model"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_drawn(
    bundle, data, capsys, words, complaint
) -> None:
    code, _, line = told(capsys, bundle, data, *words)
    assert code == 2
    assert complaint in line
    assert not (bundle.parent / "tiny-tune").exists()


def test_test_subjects_are_not_tuned_on(bundle, tmp_path, capsys) -> None:
    for part in ("train", "test"):
        write_pairs(tmp_path / "set" / part, ("A1",))
    code, _, line = told(capsys, bundle, tmp_path / "set")
    assert (code, line.count("\n")) == (2, 1)
    assert "test subjects, which must stay unseen; give --split" in line


def test_a_direct_network_has_nothing_to_tune(tmp_path, data, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_tiny_bundle(tmp_path / "direct.mrct", Direct(), size=32, spacing_mm=1.0)
    code, _, line = told(capsys, path, data)
    assert (code, "has no steps to tune" in line) == (2, True)


def test_it_works_without_torch_and_onnx(bundle, data) -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(['torch', 'onnx', 'lightning', 'onnxscript']);"
        "from mrct_cli.main import main; main()"
    )
    argv = ["tune", bundle, data, "--samplers", "unipc", "--steps", "20", *QUICK, "--quiet"]
    command = [sys.executable, "-c", code, *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("PASSED ")
    assert Bundle.load(bundle).has_preset("unipc")
