from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fitted import recalibration
from tiny_bundle import write_tiny_bundle

from mrct_export.bundle_writer import default_presets, read_presets, rewrite
from mrct_runtime.appearance import Seen
from mrct_runtime.bundle import Bundle
from mrct_runtime.errors import BundleError, OutputError, UsageError
from mrct_runtime.process import VESDE, Direct

PRESETS = {"em": {"steps": 30, "predictor": "reverse-diffusion"}, "ode": {"rtol": 1e-3}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "tiny.mrct")


def test_presets_are_replaced_and_nothing_else(path: Path) -> None:
    before = Bundle.load(path)
    contents = {p.name: p.read_bytes() for p in path.iterdir()}
    after = rewrite(path, presets=PRESETS)
    assert after.preset("em") == PRESETS["em"]
    assert set(after.manifest.presets) == {"em", "ode"}
    assert after.manifest.model_copy(update={"presets": {}}) == before.manifest.model_copy(
        update={"presets": {}}
    )
    assert after.sha256 != before.sha256
    changed = {p.name for p in path.iterdir() if p.read_bytes() != contents[p.name]}
    assert changed == {"bundle.json"}
    assert [p.name for p in path.parent.iterdir()] == ["tiny.mrct"]


def test_a_recalibration_is_stored_beside_the_presets_and_taken_out_again(path: Path) -> None:
    fitted = {"em": recalibration("em", mc=10, steps=30), "ode": recalibration("ode", mc=4)}
    before = Bundle.load(path)
    after = rewrite(path, presets=PRESETS, uncertainty=fitted)
    assert after.manifest.uncertainty == fitted
    assert after.manifest.presets == PRESETS
    rewrite(path, presets=before.manifest.presets)
    assert Bundle.load(path).manifest.uncertainty == fitted
    assert rewrite(path, uncertainty={"em": None}).manifest.uncertainty == {"ode": fitted["ode"]}
    assert rewrite(path, uncertainty={"ode": None}).sha256 == before.sha256


def test_a_recalibration_leaves_those_of_other_samplers(path: Path) -> None:
    em, ode = recalibration("em", mc=10), recalibration("ode", mc=4)
    rewrite(path, uncertainty={"em": em})
    assert rewrite(path, uncertainty={"ode": ode}).manifest.uncertainty == {"em": em, "ode": ode}


def test_how_the_training_looked_is_added_to_a_bundle_and_its_graph_still_fits(path: Path) -> None:
    seen = Seen(subjects=8, ranges={"area_cm2": (500.0, 700.0)})
    assert rewrite(path, seen=seen).manifest.seen == seen
    assert rewrite(path, presets=PRESETS).manifest.seen == seen


def test_what_was_fitted_to_another_network_is_not_written(path: Path) -> None:
    before = (path / "bundle.json").read_bytes()
    fitted = {"em": recalibration("em", mc=10)}
    with pytest.raises(BundleError, match=r"not 0{64}: it was replaced meanwhile"):
        rewrite(path, uncertainty=fitted, model_sha256="0" * 64)
    assert (path / "bundle.json").read_bytes() == before
    own = Bundle.load(path).manifest.files["model.onnx"]
    assert rewrite(path, uncertainty=fitted, model_sha256=own).manifest.uncertainty == fitted


@pytest.mark.parametrize(
    ("fitted", "reason"),
    [
        ({"x": recalibration("em", mc=10)}, "unknown sampler 'x'"),
        ({"ode": recalibration("em", mc=10)}, "has no option"),
        ({"ddpm": recalibration("ddpm", mc=10)}, "needs a DDPM model"),
        (
            {"em": recalibration("em", mc=10).model_copy(update={"options": {"steps": 30}})},
            "the recalibration of 'em' lacks the options allow_residual_noise, eps, predictor",
        ),
    ],
)
def test_a_recalibration_that_could_never_be_applied_is_not_written(
    path: Path, fitted, reason: str
) -> None:
    before = (path / "bundle.json").read_bytes()
    with pytest.raises(UsageError, match=reason):
        rewrite(path, uncertainty=fitted)
    assert (path / "bundle.json").read_bytes() == before


def test_bundles_are_rewritten_without_torch_or_onnx() -> None:
    script = (
        "import sys, mrct_export.bundle_writer; assert not {'torch', 'onnx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_card_of_a_direct_network_tells_how_it_is_run(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path / "tiny.mrct", Direct())
    card = (path / "card.md").read_text()
    for line in ("`mrct-infer --sampler direct`", "| method | cnn |", "| noise process | direct |"):
        assert line in card


@pytest.mark.parametrize("presets", [{}, {"ddpm": {"steps": 10}}, {"em": {"speed": 2}}, {"x": {}}])
def test_presets_that_a_sampler_would_refuse_are_not_written(path: Path, presets) -> None:
    before = (path / "bundle.json").read_bytes()
    with pytest.raises(UsageError):
        rewrite(path, presets=presets)
    assert (path / "bundle.json").read_bytes() == before


def test_a_failed_write_leaves_the_bundle_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_partial: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="no space left"):
        rewrite(path, presets=PRESETS)
    monkeypatch.undo()
    assert Bundle.load(path).manifest.presets == default_presets(VESDE())
    assert [p.name for p in path.parent.iterdir()] == ["tiny.mrct"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.json", json.dumps(PRESETS)),
        (
            "p.toml",
            "[em]\nsteps = 30\npredictor = 'reverse-diffusion'\n[ode]\nrtol = 1e-3\n",
        ),
    ],
)
def test_presets_are_read_from_json_and_toml(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_presets(tmp_path / name) == PRESETS


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("p.json", "{", "neither TOML nor"),
        ("p.toml", "= 3", "neither TOML nor"),
        ("p.json", "[1]", "a table of options for each sampler"),
        ("p.toml", "steps = 3", "a table of options for each sampler"),
        ("p.json", "[" * 100_000, "neither TOML nor"),
        ("p.toml", "x" + ".x" * 20_000 + " = 1", "neither TOML nor"),
        ("gone.toml", None, "cannot be read"),
    ],
)
def test_an_unreadable_file_of_presets_is_told(tmp_path: Path, name, text, reason) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=reason):
        read_presets(tmp_path / name)
