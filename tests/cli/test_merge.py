import json
import shutil

import pytest
from dicom_study import make_grid, write_series
from many_studies import QUICK, write_studies
from mr_study import SHAPE
from tiny_bundle import write_tiny_bundle

from mrct_cli import boundary, main

ARRAY = ("SLURM_ARRAY_TASK_ID", "SGE_TASK_ID", "PBS_ARRAY_INDEX", "PBS_ARRAYID", "LSB_JOBINDEX")


def run(name, *arguments):
    return boundary.run(main.load(name), f"mrct {name}", [str(each) for each in arguments])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny.mrct", size=24)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Four, of which patient-2 has a hole."""
    folder = write_studies(tmp_path_factory.mktemp("many") / "studies", 4)
    shutil.rmtree(folder / "patient-2")
    write_series(folder / "patient-2", make_grid(SHAPE), skip=(2,))
    return folder


@pytest.fixture
def shard(studies, bundle, monkeypatch):
    for name in ARRAY:
        monkeypatch.delenv(name, raising=False)

    def shard(outs, which, *flags):
        words = (studies, outs, "--all", "--shard", which, "--bundle", bundle)
        return run("infer", *words, *QUICK, "--quiet", *flags)

    return shard


@pytest.fixture
def both(shard, tmp_path, capsys):
    """The results of two shards: two studies each, one of the first failed."""
    assert shard(tmp_path / "outs", "1/2") == 8
    assert shard(tmp_path / "outs", "2/2") == 0
    capsys.readouterr()
    return tmp_path / "outs"


def states(told):
    return sorted(line.split()[1] for line in told.splitlines()[:-1])


def test_every_study_is_listed_once_with_what_became_of_it(both, capsys):
    assert run("merge", both) == 8
    told = capsys.readouterr()
    assert states(told.out) == ["failed", *["finished"] * 3]
    assert told.out.splitlines()[-1] == "PARTIAL 3 of 4 studies finished, 1 failed"
    assert "gap" in told.out or "slice" in told.out
    assert "patient-" not in told.out + told.err


def test_with_the_folder_of_studies_their_names_are_shown(both, studies, capsys):
    assert run("merge", both, "--studies", studies) == 8
    lines = capsys.readouterr().out.splitlines()[:-1]
    assert sorted(line.split()[2] for line in lines) == [f"patient-{k}" for k in range(4)]
    assert next(line for line in lines if "patient-2" in line).split()[1] == "failed"


def test_where_all_are_finished_that_is_the_verdict(shard, studies, bundle, tmp_path, capsys):
    mine = shutil.copytree(studies, tmp_path / "mine")
    shutil.rmtree(mine / "patient-2")
    for which in ("1/2", "2/2"):
        words = (mine, tmp_path / "outs", "--all", "--shard", which, "--bundle", bundle)
        assert run("infer", *words, *QUICK, "--quiet") == 0
    capsys.readouterr()
    assert run("merge", tmp_path / "outs") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "PASSED 3 of 3 studies finished"


def test_a_shard_that_has_not_begun_leaves_its_studies_missing(shard, tmp_path, capsys):
    outs = tmp_path / "outs"
    assert shard(outs, "2/2") == 0
    capsys.readouterr()
    assert run("merge", outs) == 8
    told = capsys.readouterr()
    assert "not begun: shard 1 of 2" in told.out
    assert told.out.splitlines()[-1] == "PARTIAL 2 of 4 studies finished, 2 missing"
    assert "2 of 4 studies have no result" in told.err


def test_a_result_that_was_taken_away_or_damaged_is_missing(both, capsys):
    shutil.rmtree(both / "patient-0")
    (both / "patient-1/run.json").write_text("{}")
    (both / "patient-3/std.dcm").unlink()
    assert run("merge", both) == 8
    assert capsys.readouterr().out.splitlines()[-1] == (
        "FAILED 0 of 4 studies finished, 1 failed, 3 missing"
    )


def test_a_study_that_no_shard_saw_is_missing(both, studies, tmp_path, capsys):
    more = shutil.copytree(studies, tmp_path / "more")
    (more / "patient-9").mkdir()
    assert run("merge", both, "--studies", more) == 8
    assert "missing  patient-9" in capsys.readouterr().out


def test_shards_of_other_settings_are_not_merged(shard, both, capsys):
    assert shard(both, "2/2", "--seed", "3", "--overwrite") == 0
    capsys.readouterr()
    assert run("merge", both) == 4
    assert "shards 2/2 and 1/2 differ in sampling" in capsys.readouterr().err


def test_shards_of_an_earlier_division_count_for_nothing(shard, both, capsys):
    assert shard(both, "1/1", "--seed", "3", "--overwrite") == 8
    capsys.readouterr()
    assert run("merge", both) == 8
    assert "PARTIAL 3 of 4 studies finished, 1 failed" in capsys.readouterr().out


def test_shards_that_saw_other_studies_or_versions_or_engines_are_told(both, capsys):
    path = both / ".mrct/summary-0002-of-0002.json"
    summary = json.loads(path.read_text())
    summary["everything"] = summary["everything"][:3]
    summary["versions"]["numpy"] = "1.0"
    summary["outcomes"][0]["engine"]["precision"] = "fp16"
    path.write_text(json.dumps(summary))
    assert run("merge", both) == 8
    told = capsys.readouterr().err
    assert "shards saw different studies" in told
    assert "different versions of numpy: 1.0, " in told
    assert "different engines: onnxruntime fp16, onnxruntime fp32" in told


def test_the_table_as_json_has_no_names(both, studies, tmp_path, capsys):
    assert run("merge", both, "--studies", studies, "--json", tmp_path / "table.json") == 8
    text = (tmp_path / "table.json").read_text()
    table = json.loads(text)
    assert "patient-" not in text
    assert (table["verdict"], table["finished"], table["failed"], table["missing"]) == (
        *("PARTIAL", 3, 1, 0),
    )
    assert table["shards"] == {"count": 2, "not_begun": []}
    assert table["choice"]["bundle"]["name"] == "tiny"
    assert sorted(study["state"] for study in table["studies"]) == ["failed", *["finished"] * 3]
    capsys.readouterr()
    assert run("merge", both, "--json", "-") == 8
    assert json.loads(capsys.readouterr().out)["verdict"] == "PARTIAL"


def test_a_damaged_summary_is_told_and_where_there_is_none_that_too(both, tmp_path, capsys):
    (both / ".mrct/summary-0002-of-0002.json").write_text('{"schema_version": 1}')
    assert run("merge", both) == 4
    assert "is damaged; remove it" in capsys.readouterr().err
    assert run("merge", tmp_path) == 3
    assert "nothing of mrct-infer --all there" in capsys.readouterr().err
