from __future__ import annotations

import csv
import json

import pytest
from click.testing import CliRunner
from flat_pairs import write_pairs
from tiny_bundle import write_tiny_bundle

from mrct_cli import boundary
from mrct_cli.main import mrct
from mrct_runtime.process import DDPM
from mrct_runtime.samplers import SAMPLERS


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with two bundles and a data set."""
    folder = tmp_path_factory.mktemp("study")
    write_tiny_bundle(folder / "chain.mrct", DDPM(), size=32, spacing_mm=1.0)
    write_tiny_bundle(folder / "diffusion.mrct", size=32, spacing_mm=1.0)
    write_pairs(folder / "pairs")
    return folder


def run(*words: object) -> int:
    return boundary.run(mrct, "mrct", ["eval", *map(str, words)])


@pytest.fixture(scope="module")
def evaluated(study):
    bundles = study / "chain.mrct", study / "diffusion.mrct"
    options = "--samplers", "ddpm,em", "--mc", 2, "--steps", 20, "--groups", "A=A*", "--threads", 1
    out = study / "found"
    assert run(*bundles, study / "pairs", "--out", out, *options) == 0
    return out


def test_one_command_leaves_report_scores_table_and_figures(evaluated) -> None:
    names = {path.name for path in evaluated.iterdir()}
    assert {"report.html", "evaluation.json", "subjects.csv"} < names
    content = json.loads((evaluated / "evaluation.json").read_text("utf-8"))
    listed = {figure["file"] for figure in content["figures"]}
    assert listed == {name for name in names if name.endswith(".png")}
    assert [run["label"] for run in content["runs"]] == ["DDPM", "EM"]
    assert list(content["runs"][0]["overall"]) == ["all", "A", "others"]


def test_the_record_names_no_folder(evaluated, study) -> None:
    content = json.loads((evaluated / "evaluation.json").read_text("utf-8"))
    command = " ".join(content["conditions"]["command"])
    assert command.startswith("mrct eval BUNDLE... DATA --out OUT --samplers ddpm,em --mc 2")
    for name in ("report.html", "evaluation.json", "subjects.csv"):
        assert str(study) not in (evaluated / name).read_text("utf-8")


def test_the_table_has_a_line_for_every_subject_run_and_result(evaluated) -> None:
    with (evaluated / "subjects.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["run"] for row in rows} == {"DDPM", "DDPM-M", "EM", "EM-M"}
    assert len(rows) == 3 * 2 * 2
    content = json.loads((evaluated / "evaluation.json").read_text("utf-8"))
    first = content["runs"][0]["subjects"][0]
    assert float(rows[0]["mae_hu"]) == first["single"]["mae_hu"]
    assert float(rows[1]["mae_hu"]) == first["mean"]["mae_hu"]


def test_an_earlier_evaluation_is_replaced_only_where_asked(evaluated, study, capsys) -> None:
    words = study / "chain.mrct", study / "pairs", "--out", evaluated, "--mc", 1, "--steps", 2
    assert run(*words, "--subjects", "A1") == 6
    assert "add --overwrite" in capsys.readouterr().err
    (study / "other").mkdir()
    (study / "other" / "thesis.txt").write_text("years of work")
    assert run(*words[:3], study / "other", *words[4:], "--overwrite") == 6
    assert (study / "other" / "thesis.txt").is_file()


def test_progress_and_scores_are_told_and_quiet_leaves_the_last_line(
    study, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(study)
    words = (
        *("chain.mrct", "pairs", "--samplers", "ddpm", "--mc", 1),
        *("--steps", 2, "--subjects", "A*", "--threads", 1),
    )
    assert run(*words) == 0
    told = capsys.readouterr()
    assert "2 subjects, 2 slices through DDPM" in told.err
    assert "2/2 subjects, 100%" in told.err
    assert "MAE HU" in told.out
    assert "wrote pairs-eval: look at pairs-eval/report.html" in told.out
    assert run(*words, "--overwrite", "--quiet") == 0
    last = "PASSED wrote pairs-eval: look at pairs-eval/report.html\n"
    assert capsys.readouterr() == (last, "")


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["--samplers", "direct"], 2, "no bundle here serves the sampler direct"),
        (["--samplers", "magic"], 2, "unknown sampler 'magic'"),
        (["--views", "oblique"], 2, "unknown view 'oblique'"),
        (["--groups", "all=A*"], 2, "needs LABEL=PATTERN"),
        (["--part", "test"], 2, "--part needs --split"),
        (["--subjects", "Z*"], 3, "none of its 3 subjects is named like 'Z*'"),
        (["--range-2023", "5", "-5"], 2, "a range needs low < high"),
        (["--mc", "0"], 2, "mc must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_one_line(study, capsys, words, code, complaint) -> None:
    out = study / "never"
    assert run(study / "chain.mrct", study / "pairs", "--out", out, *words) == code
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1
    assert not out.exists()


def test_help_names_every_sampler() -> None:
    text = CliRunner().invoke(mrct, ["eval", "--help"]).output
    assert ", ".join(SAMPLERS) in " ".join(text.split())
