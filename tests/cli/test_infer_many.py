import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from dicom_study import CANARY, make_grid, write_series
from many_studies import QUICK, values, write_studies
from mr_study import SHAPE
from tiny_bundle import write_tiny_bundle

from mrct_cli import boundary, main
from mrct_runtime.bundle import Bundle
from mrct_runtime.errors import DeviceMemoryError, EngineError
from mrct_runtime.job import Job
from mrct_runtime.many import starts
from mrct_runtime.output_folder import OutputFolder

ARRAY = ("SLURM_ARRAY_TASK_ID", "SGE_TASK_ID", "PBS_ARRAY_INDEX", "PBS_ARRAYID", "LSB_JOBINDEX")


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    return write_studies(tmp_path_factory.mktemp("many") / "studies", 4)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny.mrct", size=24)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty current folder, no bundle named by the environment, and no task of an array."""
    for name in ("MRCT_BUNDLE", *ARRAY):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(bundle):
    def run(studies, *arguments, out="outs"):
        words = [studies, out, "--all", "--bundle", bundle, *QUICK, *arguments]
        return boundary.run(main.load("infer"), "mrct-infer", [str(word) for word in words])

    return run


@pytest.fixture(scope="module")
def whole(studies, bundle, tmp_path_factory):
    """Name -> voxels of each study, translated on its own."""
    out = tmp_path_factory.mktemp("whole")
    found = {}
    for study in studies.iterdir():
        words = [study, out / study.name, "--bundle", bundle, *QUICK, "--quiet"]
        assert boundary.run(main.load("infer"), "mrct-infer", [str(word) for word in words]) == 0
        found[study.name] = values(out / study.name)
    return found


def results(outs):
    return {path.name: values(path) for path in outs.iterdir() if not path.name.startswith(".")}


def summary(outs, name="summary-0001-of-0001.json"):
    return json.loads((outs / ".mrct" / name).read_text())


def with_broken(studies, here):
    """The studies, and one of them with a hole in its slices."""
    mine = shutil.copytree(studies, here / "mine")
    shutil.rmtree(mine / "patient-2")
    write_series(mine / "patient-2", make_grid(SHAPE), skip=(2,))
    return mine


def test_each_study_is_translated_as_it_is_on_its_own(run, studies, whole, here, capsys):
    assert run(studies) == 0
    assert results(here / "outs") == whole
    told = capsys.readouterr()
    assert told.out == "PASSED 4 of 4 studies finished\n"
    assert "5 slices, 200 network evaluations" in told.err


def test_the_engine_is_opened_once(run, studies, monkeypatch):
    opened, real = [], Bundle.open_engine

    def open_engine(bundle, *arguments):
        opened.append(bundle)
        return real(bundle, *arguments)

    monkeypatch.setattr(Bundle, "open_engine", open_engine)
    assert run(studies) == 0
    assert len(opened) == 1


def test_shards_share_the_studies_out(run, studies, whole, here, capsys):
    assert run(studies, "--shard", "1/2") == 0
    assert sorted(results(here / "outs")) == ["patient-0", "patient-2"]
    assert run(studies, "--shard", "2/2") == 0
    assert results(here / "outs") == whole
    assert capsys.readouterr().out == "PASSED 2 of 2 studies finished\n" * 2


def test_a_task_of_an_array_takes_its_shard(run, studies, here, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "4")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "1")
    assert run(studies) == 0
    assert list(results(here / "outs")) == ["patient-3"]
    assert run(studies, "--shard", "1/4") == 0
    assert len(results(here / "outs")) == 2


def test_a_shard_without_studies_has_passed(run, studies, capsys):
    assert run(studies, "--shard", "6/6") == 0
    assert capsys.readouterr().out == "PASSED 0 of 0 studies finished\n"


def test_a_study_that_fails_does_not_end_the_others(run, studies, here, capsys):
    assert run(with_broken(studies, here)) == 8
    told = capsys.readouterr()
    assert sorted(results(here / "outs")) == ["patient-0", "patient-1", "patient-3"]
    assert told.out == "PARTIAL 3 of 4 studies finished, 1 failed\n"
    assert told.err.splitlines()[-1] == (
        "mrct: error: 1 of 4 studies have no result; `mrct merge outs` says why"
    )
    assert "(exit code 4)" in told.err
    (failed,) = (o for o in summary(here / "outs")["outcomes"] if o["code"])
    assert failed["code"] == 4
    assert failed["attempts"] == 1


def test_where_no_study_is_finished_that_is_the_verdict(run, here, capsys):
    (here / "mine/empty").mkdir(parents=True)
    assert run(here / "mine") == 8
    assert capsys.readouterr().out == "FAILED 0 of 1 studies finished, 1 failed\n"


def test_what_is_finished_and_what_failed_for_good_is_left_alone_by_the_next_run(
    run, studies, here, capsys, monkeypatch
):
    mine = with_broken(studies, here)
    assert run(mine) == 8
    reason = next(o["reason"] for o in summary(here / "outs")["outcomes"] if o["code"])
    before = {path: path.stat().st_mtime_ns for path in (here / "outs").glob("*/run.json")}
    monkeypatch.setattr(Bundle, "open_engine", None)
    capsys.readouterr()
    assert run(mine) == 8
    told = capsys.readouterr()
    assert told.out == "PARTIAL 3 of 4 studies finished, 1 failed\n"
    assert told.err.count("finished by an earlier run") == 3
    assert reason in told.err
    assert before == {path: path.stat().st_mtime_ns for path in (here / "outs").glob("*/run.json")}


@pytest.mark.parametrize("how", ["mended", "retry", "other settings"])
def test_a_failed_study_is_tried_again_where_something_has_changed(how, run, studies, here, capsys):
    mine = with_broken(studies, here)
    assert run(mine) == 8
    flags = {"retry": ["--retry"], "other settings": ["--seed", "3", "--overwrite"]}.get(how, [])
    if how == "mended":
        shutil.rmtree(mine / "patient-2")
        shutil.copytree(studies / "patient-2", mine / "patient-2")
    assert run(mine, *flags) == (0 if how == "mended" else 8)
    tried = [o["attempts"] for o in summary(here / "outs")["outcomes"]]
    assert tried == ([1, 1, 1, 1] if how == "other settings" else [0, 0, 1, 0])


def test_a_result_of_other_settings_is_in_the_way_until_it_may_be_replaced(
    run, studies, here, capsys
):
    assert run(studies, "--shard", "1/4") == 0
    assert run(studies, "--shard", "1/2", "--seed", "3") == 8
    told = capsys.readouterr()
    assert "another result is in its place (seed 0, not 3); --overwrite replaces it" in told.err
    assert "PARTIAL 1 of 2 studies finished, 1 failed" in told.out
    assert run(studies, "--shard", "1/2", "--seed", "3", "--overwrite") == 0
    seeds = [json.loads(p.read_text())["sampling"]["seed"] for p in here.glob("outs/*/run.json")]
    assert seeds == [3, 3]
    # what that made is not made again
    assert "finished by an earlier run" in capsys.readouterr().err


def test_a_result_with_other_files_is_in_the_way_too(run, studies, here, capsys):
    assert run(studies, "--shard", "1/4") == 0
    assert run(studies, "--shard", "1/4", "--maps") == 8
    assert "another result is in its place (maps False, not True)" in capsys.readouterr().err
    assert run(studies, "--shard", "1/4", "--maps", "--overwrite") == 0
    assert (here / "outs/patient-0/std").is_dir()


def test_a_damaged_result_is_in_the_way_too(run, studies, here, capsys):
    assert run(studies, "--shard", "1/4") == 0
    (here / "outs/patient-0/run.json").write_text("{}")
    assert run(studies, "--shard", "1/4") == 8
    assert "its run.json is damaged" in capsys.readouterr().err
    assert run(studies, "--shard", "1/4", "--overwrite") == 0
    (here / "outs/patient-0/std.dcm").unlink()
    assert run(studies, "--shard", "1/4") == 8
    assert "files are missing" in capsys.readouterr().err


def test_a_device_that_fails_is_opened_anew_and_the_study_tried_once_more(
    run, studies, whole, here, monkeypatch
):
    tried, opened = [], []
    real, real_open = Job.run, Bundle.open_engine

    def fails_at_first(job, *arguments):
        tried.append(job)
        if len(tried) in {2, 5, 6}:
            raise DeviceMemoryError("too little memory")
        return real(job, *arguments)

    def open_engine(bundle, *arguments):
        opened.append(bundle)
        return real_open(bundle, *arguments)

    monkeypatch.setattr(Job, "run", fails_at_first)
    monkeypatch.setattr(Bundle, "open_engine", open_engine)
    assert run(studies) == 8
    outcomes = summary(here / "outs")["outcomes"]
    assert [(o["code"], o["attempts"]) for o in outcomes] == [(0, 1), (0, 2), (0, 1), (7, 2)]
    assert len(opened) == 3
    monkeypatch.undo()
    # the next run tries again what lay at the machine
    assert run(studies, out=here / "outs") == 0
    assert results(here / "outs") == whole


def test_an_engine_that_cannot_be_opened_ends_the_run(run, studies, here, capsys, monkeypatch):
    def fail(*_):
        raise EngineError("no device")

    monkeypatch.setattr(Bundle, "open_engine", fail)
    assert run(studies) == 7
    told = capsys.readouterr()
    assert told.out == "FAILED 0 of 4 studies finished, 4 left\n"
    assert told.err.splitlines()[-1] == "mrct: error: no device"


def test_an_unexpected_error_is_told_without_what_it_says(run, studies, here, monkeypatch, capsys):
    def fail(*_, **__):
        raise ValueError(f"{CANARY}^NAME is odd")

    monkeypatch.setattr(Job, "run", fail)
    assert run(studies, "--shard", "1/4") == 8
    (outcome,) = summary(here / "outs", "summary-0001-of-0004.json")["outcomes"]
    assert outcome["code"] == 1
    assert outcome["attempts"] == 2
    assert outcome["reason"].startswith("internal: ValueError at ")
    assert CANARY not in capsys.readouterr().err


def test_names_of_studies_stand_in_no_line_and_no_file_that_is_kept(run, studies, here, capsys):
    mine = with_broken(studies, here)
    (mine / "patient-9").mkdir()
    with OutputFolder.claim(here / "outs/patient-1"):
        assert run(mine) == 8
    (here / "outs/patient-1").mkdir()
    (here / "outs/patient-1/thesis.txt").write_text("years of work")
    assert run(mine) == 8
    told = capsys.readouterr()
    kept = [path for path in (here / "outs/.mrct").rglob("*") if path.is_file()]
    kept += (here / "outs").glob("*/run.json")
    texts = [told.out, told.err, *(path.read_bytes().decode("latin1") for path in kept)]
    texts += [path.name for path in (here / "outs/.mrct").rglob("*")]
    assert not [word for text in texts for word in (CANARY, "patient-") if word in text]
    assert "is being written by process" in told.err
    assert "exists and is not empty" in told.err


def test_the_result_of_one_study_is_no_folder_for_those_of_all(run, studies, here, bundle, capsys):
    words = [next(studies.iterdir()), "outs", "--bundle", bundle, *QUICK]
    assert boundary.run(main.load("infer"), "mrct-infer", [str(word) for word in words]) == 0
    before = sorted((here / "outs").rglob("*"))
    assert run(studies, "--shard", "1/4") == 6
    assert "outs is the result of one study" in capsys.readouterr().err
    assert sorted((here / "outs").rglob("*")) == before


def test_where_nobody_is_to_be_named_no_warning_names_the_series(
    run, studies, here, monkeypatch, capsys
):
    whole = Job.run

    def doubted(job, *more):
        result = whole(job, *more)
        return replace(result, warnings=(f"{result.source}: odd",))

    monkeypatch.setattr(Job, "run", doubted)
    assert run(studies, "--shard", "1/4", "--deidentify") == 0
    (outcome,) = summary(here / "outs", "summary-0001-of-0004.json")["outcomes"]
    assert outcome["warnings"] == ["the series: odd"]
    assert "the series: odd" in capsys.readouterr().err


def test_a_report_says_how_its_result_is_made_alone(run, studies, here):
    assert run(studies, "--shard", "1/4") == 0
    command = json.loads((here / "outs/patient-0/run.json").read_text())["command"]
    assert command[:3] == ["mrct-infer", "STUDY", "OUT"]
    assert not {"--all", "--shard", "1/4"} & set(command)


SCRIPT = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from mrct_cli.main import main_infer; main_infer()"
)


def child(studies, bundle, *arguments, first=""):
    words = [studies, "outs", "--all", "--bundle", bundle, *arguments]
    return subprocess.Popen(
        [sys.executable, "-c", first + SCRIPT, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


SLOW = ("--steps", "250", "--mc", "4", "--batch", "3", "--threads", "1")


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_a_run_that_is_stopped_loses_no_study_and_is_gone_on_with(
    sent, code, studies, bundle, here, capsys
):
    running = child(studies, bundle, *SLOW)
    # in the middle of the second study
    kept = here / "outs/.patient-1.work/journal/slice-0003.npy"
    while running.poll() is None and not kept.exists():
        time.sleep(0.005)
    running.send_signal(sent)
    out, _ = running.communicate(timeout=30)
    assert running.returncode == code
    if sent != signal.SIGKILL:
        assert out == "PARTIAL 1 of 4 studies finished, 3 left\n"
    assert len(summary(here / "outs")["outcomes"]) == 1
    words = [studies, "outs", "--all", "--bundle", bundle, *SLOW]
    assert boundary.run(main.load("infer"), "mrct-infer", [str(word) for word in words]) == 0
    told = capsys.readouterr()
    assert told.out == "PASSED 4 of 4 studies finished\n"
    assert told.err.count("going on after") == 1
    whole = [studies / "patient-1", "whole", "--bundle", bundle, *SLOW]
    assert boundary.run(main.load("infer"), "mrct-infer", [str(word) for word in whole]) == 0
    assert values(here / "outs/patient-1") == values(here / "whole")


def test_a_study_at_which_the_process_dies_is_given_up_in_the_end(run, studies, bundle, here):
    deadly = (
        "import os; from mrct_runtime.translate import Job\n"
        "def die(*_): os.kill(os.getpid(), 9)\n"
        "Job.run = die\n"
    )
    for _ in range(starts.MOST_STARTS):
        dying = child(studies, bundle, *QUICK, "--shard", "1/4", first=deadly)
        dying.communicate(timeout=30)
        assert dying.returncode == -9
    assert run(studies) == 8
    outcomes = summary(here / "outs")["outcomes"]
    assert [o["code"] for o in outcomes] == [1, 0, 0, 0]
    assert "the process died 3 times in the middle of this study" in outcomes[0]["reason"]
    assert run(studies, "--retry") == 0


def _no_out(studies):
    return [studies, "--all"]


def _dry(studies):
    return [studies, "outs", "--all", "--dry-run"]


def _inside(studies):
    return [studies, studies / "outs", "--all"]


def _the_same(studies):
    return [studies, studies, "--all"]


def _shard_of_one(studies):
    return [studies, "outs", "--shard", "1/2"]


def _ray_of_one(studies):
    return [studies, "outs", "--ray", "auto"]


def _workers_of_nothing(studies):
    return [studies, "outs", "--all", "--workers", "2"]


def _a_reference_of_all(studies):
    return [studies, "outs", "--all", "--reference", "ct"]


def _no_shard(studies):
    return [studies, "outs", "--all", "--shard", "3/2"]


def _no_folder(studies):
    return [studies / "nowhere", "outs", "--all"]


def _no_studies(studies):
    return [studies / "patient-0", "outs", "--all"]


def _bad_options(studies):
    return [studies, "outs", "--all", "--steps", "0"]


@pytest.mark.parametrize(
    ("words", "code", "word"),
    [
        (_no_out, 2, "--all takes a folder OUT"),
        (_dry, 2, "neither --dry-run nor"),
        (_inside, 2, "is the folder of studies or lies in it"),
        (_the_same, 2, "is the folder of studies or lies in it"),
        (_shard_of_one, 2, "--shard is for many studies: add --all"),
        (_ray_of_one, 2, "--ray is for many studies: add --all"),
        (_workers_of_nothing, 2, "--workers are Ray's: add --ray"),
        (_a_reference_of_all, 2, "nor --reference nor --replay"),
        (_no_shard, 2, "shard 3/2 is none"),
        (_no_folder, 3, "no such folder"),
        (_no_studies, 3, "no studies there"),
        (_bad_options, 2, "steps must be"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_leaves_nothing(
    words, code, word, studies, bundle, here, capsys
):
    line = [str(each) for each in [*words(studies), "--bundle", bundle]]
    assert boundary.run(main.load("infer"), "mrct-infer", line) == code
    told = capsys.readouterr()
    assert word in told.err
    assert told.err.count("\n") == 1
    assert told.out.startswith(f"FAILED with exit code {code}: ")
    assert told.out.count("\n") == 1
    assert not any(here.iterdir())
