from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from fitted import recalibration
from flat_pairs import write_pairs
from tiny_bundle import DEVIATION, write_tiny_bundle

from mrct_cli.boundary import run
from mrct_cli.calibrate import calibrate
from mrct_export.bundle_writer import rewrite
from mrct_runtime.bundle import Bundle
from mrct_runtime.evaluation import fitting

MC = 8
NAMES = ("A1", "A2", "B1")


@pytest.fixture
def bundle(tmp_path):
    path = write_tiny_bundle(tmp_path / "tiny.mrct", size=32, spacing_mm=1.0)
    rewrite(path, presets={"em": {"steps": 60}, "ode": {"steps": 200, "rtol": 0.01, "atol": 0.01}})
    return path


@pytest.fixture
def data(tmp_path):
    return write_pairs(tmp_path / "pairs", NAMES)


def told(capsys, *argv: object) -> tuple[int, str, str]:
    code = run(calibrate, "mrct calibrate", [str(part) for part in argv])
    return code, *capsys.readouterr()


def test_the_fit_is_that_of_errors_which_are_the_means_alone(bundle, data, capsys) -> None:
    code, out, err = told(capsys, bundle, data, "--samplers", "em", "--mc", MC, "--threads", 1)
    assert code == 0, err
    found = Bundle.load(bundle).manifest.uncertainty["em"]
    assert (found.mc, found.subjects, found.slices) == (MC, 3, 3)
    assert found.serves(found.options, MC, Bundle.load(bundle).manifest.prior_mean)
    assert len(found.subjects_sha256) == 3
    # the CT is the network's mean: an average of 8 misses it by sigma / sqrt(8), so sqrt(1 + 1/8) std' is to be that
    before, after = zip(*found.coverage.values(), strict=True)
    assert min(before) > 0.85
    np.testing.assert_allclose(after, [0.5, 0.8, 0.95], atol=0.05)
    sigma, scale = DEVIATION * 4095, found.scales["bone"]
    # few steps lose some of the deviation
    assert 0.6 < 3 * np.hypot(scale.factor * sigma, scale.floor_hu) / sigma < 1.1
    assert "em: 8 samples a slice, 3 subjects" in out
    assert "holds the recalibration now" in out


def test_other_samplers_keep_what_they_have(bundle, data, capsys) -> None:
    for name in ("ode", "em"):
        code, _, err = told(capsys, bundle, data, "--samplers", name, "--mc", 2, "--by", "body")
        assert code == 0, err
    stored = Bundle.load(bundle).manifest.uncertainty
    assert set(stored) == {"em", "ode"}
    assert all(set(found.scales) == {"all"} for found in stored.values())


def test_a_dry_run_leaves_the_bundle_as_it_is(bundle, data, capsys) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    code, out, _ = told(capsys, bundle, data, "--samplers", "em", "--mc", 2, "--dry-run")
    assert code == 0
    assert "left as it is" in out
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_the_split_chooses_the_validation_subjects(bundle, data, tmp_path, capsys) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"training": ["A1"], "validation": ["B1"], "test": ["A2"]}))
    code, _, err = told(
        capsys, bundle, data, "--samplers", "em", "--mc", 2, "--split", split, "--quiet"
    )
    assert (code, err) == (0, "")
    found = Bundle.load(bundle).manifest.uncertainty["em"]
    assert (found.subjects, found.data) == (1, "validation part of the split")


def test_test_subjects_are_not_fitted_on(bundle, tmp_path, capsys) -> None:
    for part in ("train", "test"):
        write_pairs(tmp_path / "set" / part, NAMES)
    code, _, line = told(capsys, bundle, tmp_path / "set")
    assert (code, line.count("\n")) == (2, 1)
    assert "test subjects, which must stay unseen; give --split" in line


def test_a_folder_of_test_subjects_itself_is_refused_as_well(
    bundle, tmp_path, capsys, monkeypatch
) -> None:
    for part in ("train", "test"):
        write_pairs(tmp_path / "set" / part, NAMES)
    monkeypatch.chdir(tmp_path / "set" / "test")
    for data in (tmp_path / "set" / "test", "."):
        code, _, line = told(capsys, bundle, data)
        assert (code, line.count("\n")) == (2, 1)
        assert "holds the test subjects of a data set, which must stay unseen" in line


def test_only_the_validation_part_of_a_split_is_offered(bundle, data, capsys) -> None:
    code, _, line = told(capsys, bundle, data, "--part", "unseen")
    assert code == 2
    assert "--part" in line


def test_subjects_may_be_fitted_on_again_without_a_warning(bundle, data, capsys) -> None:
    words = bundle, data, "--samplers", "em", "--mc", 2, "--quiet"
    last = f"PASSED {bundle} holds the recalibration now; its worth is what `mrct eval` finds on other subjects\n"
    for _ in range(2):
        assert told(capsys, *words) == (0, last, "")


def test_what_another_calibration_stored_meanwhile_is_kept(
    bundle, data, capsys, monkeypatch
) -> None:
    fit = fitting.fit

    def meanwhile(*args, **kwargs):
        rewrite(bundle, uncertainty={"ode": recalibration("ode", mc=4)})
        return fit(*args, **kwargs)

    monkeypatch.setattr(fitting, "fit", meanwhile)
    code, _, err = told(capsys, bundle, data, "--samplers", "em", "--mc", 2)
    assert code == 0, err
    assert set(Bundle.load(bundle).manifest.uncertainty) == {"em", "ode"}


def test_one_sample_has_no_deviation_to_fit(bundle, data, capsys) -> None:
    code, _, line = told(capsys, bundle, data, "--samplers", "em", "--mc", 1)
    assert (code, line.count("\n")) == (2, 1)
    assert "no deviation to fit" in line


def test_it_works_without_torch_and_onnx(bundle, data) -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(['torch', 'onnx', 'lightning', 'onnxscript']);"
        "from mrct_cli.main import main; main()"
    )
    argv = ["calibrate", str(bundle), str(data), "--samplers", "em", "--mc", "2", "--quiet"]
    command = [sys.executable, "-c", code, *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("PASSED ")
    assert Bundle.load(bundle).manifest.uncertainty
