from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

from mrct_export.bundle_writer import read_presets, with_presets
from mrct_runtime.bundle import Bundle
from mrct_runtime.errors import OutputError, UsageError

PRESETS = {"em": {"steps": 30, "predictor": "reverse-diffusion"}, "ode": {"rtol": 1e-3}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "tiny.mrct")


def test_presets_are_replaced_and_nothing_else(path: Path) -> None:
    before = Bundle.load(path)
    contents = {p.name: p.read_bytes() for p in path.iterdir()}
    after = with_presets(path, PRESETS)
    assert after.preset("em") == PRESETS["em"]
    assert set(after.manifest.presets) == {"em", "ode"}
    assert after.manifest.model_copy(update={"presets": {}}) == before.manifest.model_copy(
        update={"presets": {}}
    )
    assert after.sha256 != before.sha256
    changed = {p.name for p in path.iterdir() if p.read_bytes() != contents[p.name]}
    assert changed == {"bundle.json"}
    assert [p.name for p in path.parent.iterdir()] == ["tiny.mrct"]


@pytest.mark.parametrize("presets", [{}, {"ddpm": {"steps": 10}}, {"em": {"speed": 2}}, {"x": {}}])
def test_presets_that_a_sampler_would_refuse_are_not_written(path: Path, presets) -> None:
    before = (path / "bundle.json").read_bytes()
    with pytest.raises(UsageError):
        with_presets(path, presets)
    assert (path / "bundle.json").read_bytes() == before


def test_a_failed_write_leaves_the_bundle_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_partial: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="no space left"):
        with_presets(path, PRESETS)
    monkeypatch.undo()
    assert Bundle.load(path).manifest.presets.keys() == {"em", "pc", "ode"}
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
        ("gone.toml", None, "cannot be read"),
    ],
)
def test_an_unreadable_file_of_presets_is_told(tmp_path: Path, name, text, reason) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=reason):
        read_presets(tmp_path / name)
