from __future__ import annotations

from pathlib import Path

import pytest

from mrct_cli.boundary import run
from mrct_cli.export import export


def told(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str]:
    code = run(export, "mrct-export", [str(part) for part in argv])
    return code, capsys.readouterr().err


def test_a_folder_without_a_checkpoint_exits_with_3(tmp_path: Path, capsys) -> None:
    code, line = told(capsys, tmp_path, tmp_path / "a.mrct")
    assert (code, line.count("\n")) == (3, 1)
    assert "no checkpoint here" in line


def test_a_bundle_of_another_name_exits_with_2(tmp_path: Path, capsys) -> None:
    code, line = told(capsys, tmp_path, tmp_path / "a.onnx")
    assert code == 2
    assert "NAME.mrct" in line


def test_presets_that_cannot_be_read_exit_with_2(tmp_path: Path, capsys) -> None:
    code, line = told(capsys, tmp_path, tmp_path / "a.mrct", "--presets", tmp_path / "gone.toml")
    assert code == 2
    assert "gone.toml cannot be read" in line


def test_the_help_tells_what_is_refused(capsys) -> None:
    assert run(export, "mrct-export", ["--help"]) == 0
    text = capsys.readouterr().out
    assert "refuses to write" in text
    assert "--overwrite" in text
