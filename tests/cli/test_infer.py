import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pydicom
import pytest
from dicom_study import CANARY, make_grid, run_program, write_series
from fitted import recalibration
from mr_study import SHAPE, write_mr_study
from tiny_bundle import write_tiny_bundle

from mrct_cli import boundary, main
from mrct_cli.infer import infer
from mrct_export.bundle_writer import rewrite
from mrct_runtime import demonstration, translate
from mrct_runtime.bundle import Bundle
from mrct_runtime.dicom import read_study
from mrct_runtime.engines.onnxruntime import OnnxRuntime
from mrct_runtime.journal import Journal
from mrct_runtime.nifti import write_nifti
from mrct_runtime.output_folder import OutputFolder
from mrct_runtime.process import DDPM, Direct

FILES = {
    *("preview.png", "preview_slices.png", "report.html", "run.json"),
    *("sct.nii.gz", "sct_std.nii.gz", "std.dcm"),
}
# SyntheticData is younger than the dictionary of the dciodvfy that Debian has
SYNTHETIC = "(0x0008,0x001c)"
QUICK = ("--steps", "20", "--mc", "2")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_mr_study(tmp_path_factory.mktemp("studies") / "patient-7")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny.mrct", size=24)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty current folder, and no bundle named by the environment."""
    monkeypatch.delenv("MRCT_BUNDLE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return boundary.run(main.load("infer"), "mrct-infer", [str(a) for a in arguments])


def test_a_volume_gives_a_folder_of_its_name_without_the_ending(study, bundle, here, capsys):
    write_nifti(read_study(study).volume, here / "patient-7.mr.nii.gz")
    assert run("patient-7.mr.nii.gz", "--bundle", bundle, *QUICK) == 0
    out = here / "patient-7.mr-sct"
    assert {path.name for path in out.iterdir()} == FILES - {"std.dcm"}
    assert "patient-7" not in (out / "run.json").read_text()
    assert run("absent.nii.gz", "--bundle", bundle) == 3
    assert "no such file (a .nii.gz file)" in capsys.readouterr().err


def test_a_study_becomes_a_ct_series_a_map_niftis_pictures_and_a_report(
    study, bundle, here, capsys
):
    assert run(study, "out", "--bundle", bundle, *QUICK) == 0
    out = here / "out"
    assert {path.name for path in out.iterdir()} == FILES | {"sct"}
    names = sorted(path.name for path in (out / "sct").iterdir())
    assert names == [f"CT.{k + 1:04d}.dcm" for k in range(SHAPE[0])]
    assert pydicom.dcmread(out / "std.dcm").Modality != "CT"
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in FILES if "png" in name)
    assert capsys.readouterr().out == "PASSED wrote out: look at out/report.html\n"
    assert [path.name for path in here.iterdir()] == ["out"]


def test_without_an_out_the_folder_is_named_after_the_study(study, bundle, here):
    assert run(study, "--bundle", bundle, *QUICK, "--quiet") == 0
    assert (here / "patient-7-sct" / "run.json").is_file()


def test_progress_is_told_on_stderr_and_quiet_tells_nothing(study, bundle, capsys):
    assert run(study, "loud", "--bundle", bundle, *QUICK, "--batch", 2) == 0
    told = capsys.readouterr().err
    lines = [line for line in told.splitlines() if "/5 slices, " in line]
    assert lines[0].startswith("1/5 slices, ")
    assert lines[-1].startswith("5/5 slices, 100%, ")
    assert all("elapsed" in line and "left" in line for line in lines)
    assert run(study, "silent", "--bundle", bundle, *QUICK, "--quiet") == 0
    assert capsys.readouterr().err == ""


def test_the_environment_may_name_the_bundle(study, bundle, here, monkeypatch):
    monkeypatch.setenv("MRCT_BUNDLE", str(bundle))
    assert run(study, "out", *QUICK, "--quiet") == 0
    assert json.loads((here / "out/run.json").read_text())["model"]["name"] == "tiny"


def test_only_the_bundle_with_the_digest_that_was_asked_for_translates(
    study, bundle, here, monkeypatch, capsys
):
    right, wrong = Bundle.load(bundle).sha256, "0" * 64
    options = (study, "out", "--bundle", bundle, *QUICK, "--quiet")
    assert run(*options, "--bundle-sha256", wrong) == 5
    assert f"its sha256 is {right}, asked for was {wrong}" in capsys.readouterr().err
    assert run(study, "out", *QUICK, "--bundle-sha256", right) == 5, "a demonstration model"
    monkeypatch.setenv("MRCT_BUNDLE_SHA256", wrong)
    assert run(*options) == 5
    assert run(*options, "--bundle-sha256", "") == 2
    assert list(here.iterdir()) == []
    monkeypatch.setenv("MRCT_BUNDLE_SHA256", right)
    assert run(*options) == 0
    model = json.loads((here / "out/run.json").read_text())["model"]
    assert model["bundle_sha256"] == right


def test_the_report_lists_the_digest_of_every_file_and_how_it_was_made(study, bundle, here):
    assert run(study, "out", "--bundle", bundle, *QUICK, "--seed=3", "--quiet") == 0
    report = json.loads((here / "out/run.json").read_text())
    files = {
        path.relative_to(here / "out").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (here / "out").rglob("*")
        if path.is_file() and path.name != "run.json"
    }
    assert report["outputs"] == files
    assert report["sampling"]["options"]["steps"] == 20
    assert (report["sampling"]["mc"], report["sampling"]["seed"]) == (2, 3)
    assert report["counters"]["evaluations"] == 20 * 2 * SHAPE[0]
    assert report["command"] == [
        *("mrct-infer", "STUDY", "OUT", "--mc", "2", "--seed", "3"),
        *("--bundle", "BUNDLE", "--steps", "20", "--quiet"),
    ]


def test_the_report_hides_study_out_bundle_and_series_and_no_value_that_is_equal_to_one(
    study, bundle, here
):
    (here / "em").symlink_to(study)
    (here / "20").symlink_to(bundle)
    named = ("em", "2", "--bundle=20", "--series", "4")
    assert run(*named, "--sampler", "em", "--seed", "4", *QUICK, "--quiet") == 0
    assert json.loads((here / "2/run.json").read_text())["command"] == [
        *("mrct-infer", "STUDY", "OUT", "--sampler", "em", "--mc", "2", "--seed", "4"),
        *("--bundle", "BUNDLE", "--series", "SERIES", "--steps", "20", "--quiet"),
    ]


def test_a_failed_run_removes_the_folders_that_it_made_above_its_output(study, bundle, here):
    assert run(study, "a/b/out", "--bundle", bundle, *QUICK, "--series", "99") == 4
    assert list(here.iterdir()) == []


def test_no_patient_data_leaves_the_dicom_files(study, bundle, here, capsys):
    assert run(study, "out", "--bundle", bundle, *QUICK) == 0
    told = capsys.readouterr()
    texts = [(here / "out/run.json").read_text(), told.out, told.err]
    texts += [path.read_bytes().decode("latin1") for path in (here / "out").glob("*.png")]
    texts += [path.read_bytes().decode("latin1") for path in (here / "out").glob("*.gz")]
    assert not any(CANARY in text for text in texts)
    assert "patient-7" not in texts[0]


def test_the_same_seed_gives_the_same_ct_and_another_seed_another(study, bundle, here):
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        steps = ("--steps", 200, "--mc", 2, "--quiet")
        assert run(study, out, "--bundle", bundle, "--seed", seed, *steps) == 0
    a, b, c = (pydicom.dcmread(here / out / "sct/CT.0003.dcm").pixel_array for out in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_where_no_sampler_is_named_the_bundles_own_is_taken(study, here, capsys):
    path = write_tiny_bundle(here / "tiny.mrct", size=24)
    assert run(study, "out", "--bundle", path, "--dry-run") == 0
    assert "sampler: EulerMaruyama(" in capsys.readouterr().out
    rewrite(path, sampler="dpmpp")
    assert run(study, "out", "--bundle", path, "--dry-run") == 0
    assert "sampler: MultistepDPM(" in capsys.readouterr().out
    assert run(study, "out", "--bundle", path, "--sampler", "em", "--dry-run") == 0
    assert "sampler: EulerMaruyama(" in capsys.readouterr().out


@pytest.mark.parametrize("process", [DDPM(), Direct()])
def test_a_bundle_of_any_family_runs_without_a_word_about_samplers(process, study, here, capsys):
    path = write_tiny_bundle(here / "any.mrct", process, size=24)
    assert run(study, "out", "--bundle", path, "--dry-run") == 0
    assert (
        f"sampler: {'Ancestral' if process == DDPM() else 'OneEvaluation'}("
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("em", ["--predictor", "reverse-diffusion", "--eps", "0.01"]),
        ("pc", ["--correctors", "3", "--snr", "0.1", "--steps", "200"]),
        ("ode", ["--rtol", "1e-3", "--atol", "1e-3", "--no-denoise", "--steps", "500"]),
    ],
)
def test_the_options_of_a_sampler_reach_it(sampler, options, study, bundle, here):
    quick = ["--steps", "20", "--mc", "1", "--quiet"]
    assert run(study, "out", "--bundle", bundle, "--sampler", sampler, *quick, *options) == 0
    made = json.loads((here / "out/run.json").read_text())["sampling"]
    given = {k.removeprefix("--"): v for k, v in zip(options[::2], options[1::2], strict=False)}
    for name in ("eps", "snr", "rtol", "correctors"):
        if name in given:
            assert made["options"][name] == float(given[name])
    assert made["sampler"] == sampler
    assert made["options"].get("denoise", False) is False


def test_a_slice_gets_samples_until_its_mean_is_as_exact_as_was_asked_for(
    study, bundle, here, capsys
):
    # the model's pixels have a deviation of 0.1, some 400 HU: 10 to 20 samples of it have an error of 100 HU
    some = ["--steps", "20", "--predictor", "reverse-diffusion", "--mc", "4..30"]
    assert run(study, "out", "--bundle", bundle, *some, "--mc-tolerance", "100") == 0
    told = capsys.readouterr()
    assert "4 to 30 samples until their mean's standard error is 100 HU" in told.err
    made = json.loads((here / "out/run.json").read_text())
    counters = made["counters"]
    assert made["sampling"]["stopping"] == {"least": 4, "tolerance_hu": 100}
    assert len(counters["samples"]) == len(counters["standard_error_hu"]) == SHAPE[0]
    assert all(4 < n < 30 for n in counters["samples"])
    assert all(error <= 100 for error in counters["standard_error_hu"])
    assert counters["evaluations"] == 20 * sum(counters["samples"])


def test_a_tolerance_that_the_most_samples_do_not_reach_is_told(study, bundle, here, capsys):
    some = ["--steps", "20", "--predictor", "reverse-diffusion", "--mc", "2..4"]
    assert run(study, "out", "--bundle", bundle, *some, "--mc-tolerance", "10", "--quiet") == 0
    told = capsys.readouterr().err
    assert f"{SHAPE[0]} of {SHAPE[0]} slices have all 4 samples" in told
    assert "raise the upper number of mc" in told


def test_few_samples_that_are_enough_are_no_short_memory(study, bundle, here, capsys):
    some = ["--sampler", "dpmpp", "--mc", "2..32", "--mc-tolerance", "4000", "--quiet"]
    assert run(study, "out", "--bundle", bundle, *some) == 0
    counters = json.loads((here / "out/run.json").read_text())["counters"]
    assert counters["samples"] == [2] * SHAPE[0]
    assert counters["batch"] == 2 * SHAPE[0]
    assert "memory" not in capsys.readouterr().err


def test_antithetic_samples_have_a_more_exact_mean(study, bundle, here):
    some = ["--sampler", "dpmpp", "--mc", "4", "--quiet"]
    means = {}
    for out, seed, *flag in [
        ("a", 0),
        ("b", 1),
        ("c", 0, "--antithetic"),
        ("d", 1, "--antithetic"),
    ]:
        assert run(study, out, "--bundle", bundle, *some, "--seed", seed, *flag) == 0
        image = pydicom.dcmread(here / out / "sct/CT.0003.dcm")
        means[out] = image.pixel_array[6:-6, 6:-6].astype(float)
    assert json.loads((here / "c/run.json").read_text())["sampling"]["antithetic"] is True
    assert abs(means["c"] - means["d"]).mean() < 0.2 * abs(means["a"] - means["b"]).mean()


def test_samples_that_share_their_way_take_fewer_evaluations_and_say_what_that_costs(
    study, bundle, here, capsys
):
    some = ["--steps", "20", "--predictor", "reverse-diffusion", "--mc", "4", "--quiet"]
    assert run(study, "out", "--bundle", bundle, *some, "--branch-at", "0.5", "--batch", "8") == 0
    told = capsys.readouterr().err
    assert "the samples of a slice are one until t = 0.5" in told
    assert "memory" not in told
    made = json.loads((here / "out/run.json").read_text())
    assert made["sampling"]["branch_at"] == 0.5
    # of 20 levels from 1 to 1/20 that with the time 0.5 is the eleventh
    assert made["counters"]["evaluations"] == SHAPE[0] * (11 + 4 * 9)


def test_a_ddpm_bundle_takes_the_ddpm_sampler_and_its_options(study, here):
    bundle = write_tiny_bundle(here / "tiny-ddpm.mrct", DDPM(), size=24)
    options = ("--steps", 10, "--mc", 1, "--variance", "fixed-large", "--no-clip-x0", "--quiet")
    assert run(study, "out", "--bundle", bundle, "--sampler", "ddpm", *options) == 0
    made = json.loads((here / "out/run.json").read_text())["sampling"]["options"]
    assert made == {"steps": 10, "variance": "fixed-large", "clip_x0": False}


@pytest.fixture(scope="module")
def direct(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "cnn.mrct", Direct(), size=24)


def test_a_direct_network_is_run_with_one_evaluation_a_slice(study, direct, here, capsys):
    assert run(study, "out", "--bundle", direct, "--sampler", "direct") == 0
    assert {path.name for path in (here / "out").iterdir()} == FILES | {"sct"}
    report = json.loads((here / "out/run.json").read_text())
    assert (report["sampling"]["sampler"], report["sampling"]["options"]) == (
        "direct",
        {"steps": 1},
    )
    assert report["sampling"]["mc"] == 1
    assert report["counters"]["evaluations"] == SHAPE[0]
    assert report["model"]["training"]["method"] == "cnn"
    told = capsys.readouterr().err
    assert "1 sample a slice, 5 network evaluations" in told
    assert "mrct: warning: a direct network has no deviation" in told


def test_a_recalibration_is_applied_and_raw_uncertainty_turns_it_off(study, here, capsys):
    bundle = write_tiny_bundle(here / "tiny.mrct", size=24)
    rewrite(bundle, uncertainty={"em": recalibration("em", mc=2, steps=20)})
    deviations = {}
    for out, flags in (("told", ()), ("raw", ("--raw-uncertainty",))):
        assert run(study, out, "--bundle", bundle, *QUICK, "--quiet", *flags) == 0
        report = json.loads((here / out / "run.json").read_text())
        assert report["uncertainty"]["recalibrated"] is (out == "told")
        assert ("--raw-uncertainty" in report["command"]) is (out == "raw")
        deviations[out] = pydicom.dcmread(here / out / "std.dcm").pixel_array
    assert np.allclose(deviations["told"], 2 * deviations["raw"], rtol=1e-5)
    assert capsys.readouterr().err == ""
    assert run(study, "other", "--bundle", bundle, "--steps", 30, "--mc", 2, "--quiet") == 0
    assert "is for steps 20, not 30: the uncertainty map is raw" in capsys.readouterr().err


def test_samples_start_from_a_direct_networks_image(study, bundle, direct, here, capsys):
    words = (study, "out", "--bundle", bundle, "--sampler", "unipc", "--steps", 4, "--mc", 2)
    assert run(*words, "--warm-start", direct, "--warm-sigma", 0.3) == 0
    assert "start:   the image of cnn with noise of sigma 0.3, t = " in capsys.readouterr().err
    told = json.loads((here / "out/run.json").read_text("utf-8"))
    assert told["sampling"]["started"]["sigma"] == pytest.approx(0.3)
    assert str(direct) not in told["command"]
    assert run(*words, "--warm-sigma", 0.3) == 2
    assert "--warm-sigma is the noise of a warm start: give --warm-start" in capsys.readouterr().err


def test_a_recipe_sets_what_was_published(study, bundle, here, capsys):
    assert run(study, "--bundle", bundle, "--sampler", "pc", "--recipe", "paper", "--dry-run") == 0
    assert "steps=1000, eps=0.002" in capsys.readouterr().out
    assert list(here.iterdir()) == []


def test_a_dry_run_of_a_named_sagittal_series_warns_of_its_cuts(bundle, here, capsys):
    write_series(here / "sag", make_grid((24, 24, 24), (2, 2, 2), angles=(0, 90, 0)), number=3)
    arguments = ("sag", "--bundle", bundle, *QUICK, "--series", "3", "--dry-run")
    assert run(*arguments) == 0
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert warning == (
        "mrct: warning: the series is sagittal: its axial cuts are translated, "
        "24 of 24 x 24 pixels of 2 x 2 mm, 2 mm apart"
    )


def test_a_dry_run_tells_series_work_time_and_memory_and_writes_nothing(
    study, bundle, here, capsys
):
    assert run(study, "out", "--bundle", bundle, *QUICK, "--dry-run") == 0
    plan = capsys.readouterr().out
    assert "series 4 't2_tse_tra'" in plan
    assert "5 slices of 24 x 24" in plan
    assert "200 network evaluations" in plan
    assert "time:" in plan
    assert "MB" in plan
    assert list(here.iterdir()) == []


def test_overwrite_replaces_an_earlier_result_and_nothing_else(study, bundle, here, capsys):
    assert run(study, "out", "--bundle", bundle, *QUICK, "--quiet") == 0
    (here / "out/old.txt").write_text("old")
    assert run(study, "out", "--bundle", bundle, *QUICK, "--quiet", "--overwrite") == 0
    assert not (here / "out/old.txt").exists()
    (here / "mine").mkdir()
    (here / "mine/thesis.txt").write_text("years of work")
    assert run(study, "mine", "--bundle", bundle, *QUICK, "--overwrite") == 6
    assert (here / "mine/thesis.txt").read_text() == "years of work"
    assert "run.json" in capsys.readouterr().err


def test_the_study_itself_is_never_overwritten(bundle, here, capsys):
    own = write_mr_study(here / "study")
    (own / "run.json").write_text("{}")
    before = len(list(own.iterdir()))
    for out in (own, here):
        assert run(own, out, "--bundle", bundle, *QUICK, "--overwrite") == 2
    assert len(list(own.iterdir())) == before
    assert "study itself" in capsys.readouterr().err


def test_a_body_larger_than_the_model_is_told(study, here, capsys):
    small = write_tiny_bundle(here / "small.mrct", size=16)
    assert run(study, "out", "--bundle", small, *QUICK) == 0
    assert "mrct: warning: 55.6% of the body" in capsys.readouterr().err


STOPPABLE = ("--steps", "400", "--mc", "4", "--batch", "3")


@pytest.fixture(scope="module")
def whole(study, bundle, tmp_path_factory):
    """What an uninterrupted run gives."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run(study, out, "--bundle", bundle, *STOPPABLE) == 0
    return out


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_and_the_same_command_ends_it_with_the_same_bits(
    sent, code, study, bundle, here, whole, capsys
):
    # a shell's background jobs inherit an ignored SIGINT
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from mrct_cli.main import main_infer; main_infer()"
    )
    arguments = [str(each) for each in (study, "out", "--bundle", bundle, *STOPPABLE)]
    child = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    kept = here / ".out.work" / "journal" / "slice-0001.npy"
    while child.poll() is None and not kept.exists():
        time.sleep(0.005)
    child.send_signal(sent)
    last, rest = child.communicate(timeout=30)
    assert child.returncode == code
    assert re.fullmatch(r"PARTIAL \d of 5 slices are kept; the same command goes on\n", last)
    assert rest.splitlines()[-1].startswith("mrct: error: ")
    assert "what is finished is kept" in rest.splitlines()[-1]
    assert [path.name for path in here.iterdir()] == [".out.work"]
    assert {path.name for path in kept.parents[1].iterdir()} == {"journal", "lock"}
    assert run(*arguments) == 0
    assert "going on after" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["out"]
    for name in ("sct.nii.gz", "sct_std.nii.gz", "preview.png"):
        assert (here / "out" / name).read_bytes() == (whole / name).read_bytes()
    counted = [
        json.loads((each / "run.json").read_text())["counters"] for each in (here / "out", whole)
    ]
    assert counted[0] == counted[1]


def test_what_is_kept_of_another_run_is_dropped(study, bundle, here, whole, monkeypatch, capsys):
    real = Journal.drawn

    def interrupted(journal, batch):
        real(journal, batch)
        if batch.place == 2:
            raise KeyboardInterrupt

    command = (study, "out", "--bundle", bundle, *STOPPABLE)
    monkeypatch.setattr(Journal, "drawn", interrupted)
    assert run(*command, "--seed", "1") == 130
    monkeypatch.setattr(Journal, "drawn", real)
    capsys.readouterr()
    assert run(*command) == 0
    assert "going on after" not in capsys.readouterr().err
    assert (here / "out/sct.nii.gz").read_bytes() == (whole / "sct.nii.gz").read_bytes()


def test_a_second_run_is_refused_and_told_of_the_first(study, bundle, here, capsys):
    command = (study, "out", "--bundle", bundle, *STOPPABLE)
    with OutputFolder.claim(here / "out"):
        assert run(*command) == 6
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"is being written by process {os.getpid()} on" in told
    assert run(*command) == 0


def test_what_the_engine_tells_comes_after_the_plan(study, bundle, capsys, monkeypatch):
    real = Bundle.open_engine

    def open_engine(self, target, tell):
        tell("no GPU here")
        return real(self, target, tell)

    monkeypatch.setattr(Bundle, "open_engine", open_engine)
    assert run(study, "out", "--bundle", bundle, *QUICK) == 0
    told = capsys.readouterr().err.splitlines()
    (plan,) = (place for place, line in enumerate(told) if line.startswith("work:"))
    assert told[plan + 1] == "no GPU here"


def test_an_interrupt_while_the_study_is_read_closes_the_engine_and_leaves_nothing(
    study, bundle, here, capsys, monkeypatch
):
    closed, real = [], OnnxRuntime.close

    def close(engine):
        closed.append(engine)
        real(engine)

    def interrupt(*_words, **_named):
        raise KeyboardInterrupt

    monkeypatch.setattr(OnnxRuntime, "close", close)
    monkeypatch.setattr(translate, "read_source", interrupt)
    assert run(study, "out", "--bundle", bundle, *QUICK) == 130
    assert "nothing half-written" in capsys.readouterr().err
    assert len(closed) == 1
    assert list(here.iterdir()) == []


def test_without_a_direct_demonstration_model_that_is_told(study, here, capsys, monkeypatch):
    monkeypatch.setattr(demonstration, "FOLDER", here)
    assert run(study, "out", "--sampler", "direct") == 5
    told = capsys.readouterr().err
    assert "no demo-cnn.mrct, the demonstration model for sampler direct; give --bundle" in told
    assert list(here.iterdir()) == []


def test_the_flags_are_the_fields_of_the_samplers(capsys):
    assert run("--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for flag in ("--clip-x0 / --no-clip-x0", "--variance [fixed-small|fixed-large]", "--snr FLOAT"):
        assert flag in shown
    assert "1000 of them are 500 levels of one predictor and one corrector step" in shown
    assert all(parameter.default is None for parameter in infer.params if parameter.name == "steps")


def _empty(here, study, bundle):
    (here / "empty").mkdir()
    return [here / "empty", "out", "--bundle", bundle]


def _no_such_study(here, study, bundle):
    return [here / "nowhere", "out", "--bundle", bundle]


def _only_ct(here, study, bundle):
    write_series(here / "ct", make_grid(SHAPE), modality="CT")
    return [here / "ct", "out", "--bundle", bundle]


def _only_a_sagittal(here, study, bundle):
    write_series(here / "sag", make_grid(SHAPE, angles=(0, 90, 0)))
    return [here / "sag", "out", "--bundle", bundle]


def _no_such_series(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--series", "99"]


def _missing_bundle(here, study, bundle):
    return [study, "out", "--bundle", here / "gone.mrct"]


def _changed_bundle(here, study, bundle):
    changed = shutil.copytree(bundle, here / "changed.mrct")
    content = bytearray((changed / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (changed / "model.onnx").write_bytes(content)
    return [study, "out", "--bundle", changed]


def _unknown_sampler(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--sampler", "dpm"]


def _sampler_of_another_process(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--sampler", "ddpm"]


def _sampler_of_noise_for_a_direct_network(here, study, bundle):
    direct = write_tiny_bundle(here / "cnn.mrct", Direct(), size=24)
    return [study, "out", "--bundle", direct, "--sampler", "em"]


def _many_images_of_a_direct_network(here, study, bundle):
    direct = write_tiny_bundle(here / "cnn.mrct", Direct(), size=24)
    return [study, "out", "--bundle", direct, "--sampler", "direct", "--mc", "10"]


def _steps_of_a_direct_network(here, study, bundle):
    direct = write_tiny_bundle(here / "cnn.mrct", Direct(), size=24)
    return [study, "out", "--bundle", direct, "--sampler", "direct", "--steps", "50"]


def _a_recipe_for_a_direct_network(here, study, bundle):
    direct = write_tiny_bundle(here / "cnn.mrct", Direct(), size=24)
    return [study, "out", "--bundle", direct, "--sampler", "direct", "--recipe", "paper"]


def _no_steps(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--steps", "0"]


def _no_samples(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--mc", "0"]


def _words_for_samples(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--mc", "many"]


def _samples_without_a_tolerance(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--mc", "4..32"]


def _a_tolerance_without_samples(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--mc-tolerance", "5"]


def _samples_from_more_to_fewer(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--mc", "32..4", "--mc-tolerance", "5"]


def _one_sample_at_least(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--mc", "1..4", "--mc-tolerance", "5"]


def _branches_of_the_ode(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--sampler", "ode", "--branch-at", "0.5"]


def _more_samples_than_a_number_has_digits(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--mc", "9" * 5000]


def _a_negative_tolerance(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--mc", "4..32", "--mc-tolerance", "-1"]


def _branches_of_a_direct_network(here, study, bundle):
    direct = write_tiny_bundle(here / "cnn.mrct", Direct(), size=24)
    return [study, "out", "--bundle", direct, "--branch-at", "0.5"]


def _a_pair_of_one_image(here, study, bundle):
    direct = write_tiny_bundle(here / "cnn.mrct", Direct(), size=24)
    return [study, "out", "--bundle", direct, "--antithetic"]


def _pairs_that_begin_as_one(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--antithetic", "--branch-at", "0.5"]


def _a_recipe_that_the_bundles_own_sampler_has_not(here, study, bundle):
    tuned = write_tiny_bundle(here / "tuned.mrct", size=24)
    rewrite(tuned, sampler="dpmpp")
    return [study, "out", "--bundle", tuned, "--recipe", "paper"]


def _no_threads(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--threads", "0"]


def _more_threads_than_any_machine(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--threads", "9999999999"]


def _empty_study(here, study, bundle):
    return ["", "out", "--bundle", bundle]


def _empty_out(here, study, bundle):
    return [study, "", "--bundle", bundle]


def _empty_bundle(here, study, bundle):
    return [study, "out", "--bundle", ""]


def _empty_batch(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--batch", "0"]


def _option_of_another_sampler(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--correctors", "2"]


def _residual_noise(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--steps", "500", "--eps", "1e-3"]


def _far_too_few_levels(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--sampler", "pc", "--steps", "4", "--quiet"]


def _unknown_device(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--device", "gpu"]


def _no_gpu(here, study, bundle):
    return [study, "out", "--bundle", bundle, "--device", "cuda:99"]


def _no_study(here, study, bundle):
    return []


def _out_is_a_file(here, study, bundle):
    (here / "out").write_text("in the way")
    return [study, "out", "--bundle", bundle]


def _out_under_a_file(here, study, bundle):
    (here / "file").write_text("in the way")
    return [study, "file/out", "--bundle", bundle]


def _out_is_occupied(here, study, bundle):
    (here / "out").mkdir()
    (here / "out/run.json").write_text("an earlier result")
    return [study, "out", "--bundle", bundle]


@pytest.mark.parametrize(
    ("arrange", "code", "word"),
    [
        (_empty, 3, "no DICOM"),
        (_no_such_study, 3, "no such folder"),
        (_only_ct, 3, "no MR series"),
        (_only_a_sagittal, 4, "sagittal"),
        (_no_such_series, 4, "99"),
        (_missing_bundle, 5, "gone.mrct"),
        (_changed_bundle, 5, "model.onnx was changed"),
        (_unknown_sampler, 2, "'dpm' is not one of"),
        (_sampler_of_another_process, 2, "needs a DDPM model"),
        (_sampler_of_noise_for_a_direct_network, 2, "this one is a Direct model"),
        (_many_images_of_a_direct_network, 2, "leave mc out"),
        (_steps_of_a_direct_network, 2, "takes 1 step, got 50"),
        (_a_recipe_for_a_direct_network, 2, "leave --recipe out"),
        (_no_steps, 2, "steps must be"),
        (_no_samples, 2, "mc must be"),
        (_words_for_samples, 2, "'many' is neither a number of samples nor two of them"),
        (_samples_without_a_tolerance, 2, "mc 4..32 needs mc_tolerance"),
        (_a_tolerance_without_samples, 2, "give mc as two numbers"),
        (_samples_from_more_to_fewer, 2, "from fewer samples to more, got 32 to 4"),
        (_one_sample_at_least, 2, "at least 2 samples"),
        (_branches_of_the_ode, 2, "draws no noise from t = 0.5 on"),
        (_more_samples_than_a_number_has_digits, 2, "is neither a number of samples"),
        (_a_negative_tolerance, 2, "mc_tolerance must be finite and above 0, got -1.0"),
        (_branches_of_a_direct_network, 2, "a direct network has no way to share"),
        (_a_pair_of_one_image, 2, "leave antithetic out"),
        (_pairs_that_begin_as_one, 2, "leave antithetic out"),
        (_a_recipe_that_the_bundles_own_sampler_has_not, 2, "ddpm, em, pc, ode: name one of these"),
        (_no_threads, 2, "threads must be"),
        (_more_threads_than_any_machine, 2, "threads must be"),
        (_empty_study, 2, "'STUDY': an empty path"),
        (_empty_out, 2, "an empty path"),
        (_empty_bundle, 2, "an empty path"),
        (_empty_batch, 2, "batch must be"),
        (_option_of_another_sampler, 2, "has no option correctors"),
        (_residual_noise, 2, "leaves noise"),
        (_far_too_few_levels, 9, "HU window"),
        (_unknown_device, 2, "unknown device 'gpu'"),
        (_no_gpu, 7, "--device cuda:99 cannot be had"),
        (_no_study, 2, "STUDY"),
        (_out_is_a_file, 6, "not a folder"),
        (_out_under_a_file, 6, "cannot be written"),
        (_out_is_occupied, 6, "not empty"),
    ],
)
def test_wrong_input_gets_its_exit_code_one_line_and_leaves_nothing(
    arrange, code, word, here, study, bundle, capsys
):
    arguments = arrange(here, study, bundle)
    before = sorted(here.rglob("*"))
    assert run(*arguments) == code
    told = capsys.readouterr()
    assert told.out.startswith(f"FAILED with exit code {code}: ")
    assert told.out.count("\n") == 1
    assert told.err.startswith("mrct: error: ")
    assert told.err.count("\n") == 1
    assert word in told.err
    assert sorted(here.rglob("*")) == before


def test_a_real_study_of_several_series_becomes_one_ct_a_slice(shared_data, bundle, here, capsys):
    folder = shared_data / "prostatex_mr_dicom/ProstateX/ProstateX-0000"
    assert run(folder, "out", "--bundle", bundle, *QUICK) == 0
    assert "series 4 't2_tse_tra'" in capsys.readouterr().err
    source = read_study(folder)
    files = sorted((here / "out/sct").iterdir())
    assert len(files) == len(source.headers) == 19
    for file, header in zip(files, source.headers, strict=True):
        image = pydicom.dcmread(file)
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            assert np.allclose(image[keyword].value, header[keyword].value, atol=1e-4, rtol=0)
        assert image.SourceImageSequence[0].ReferencedSOPInstanceUID == header.SOPInstanceUID
    for file in (files[0], files[-1], here / "out/std.dcm"):
        report = run_program("dciodvfy", file).splitlines()
        assert [line for line in report if line.startswith("Error") and SYNTHETIC not in line] == []


def test_a_true_ct_is_compared_and_named_by_a_placeholder(study, bundle, here):
    grid = read_study(study).volume.grid
    stored = np.full(grid.shape, 1064, np.uint16)
    write_series(here / "patient-7-ct", grid, stored, modality="CT", description="ct")
    assert run(study, "out", "--bundle", bundle, *QUICK, "--reference", "patient-7-ct") == 0
    report = json.loads((here / "out/run.json").read_text())
    assert report["reference"]["metrics"]["mae_hu"] > 0
    assert report["command"][-2:] == ["--reference", "CT"]
    assert "patient-7" not in json.dumps(report)
    page = (here / "out/report.html").read_text("utf-8")
    assert "Against the true CT" in page
    assert "patient-7" not in page
    assert CANARY not in page


def test_a_reference_that_does_not_fit_is_refused_before_anything_is_sampled(
    study, bundle, here, capsys
):
    other = make_grid((4, 10, 10), (3.0, 2.0, 2.0), origin=(500, 500, 500))
    elements = {"FrameOfReferenceUID": "1.2.3"}
    write_series(here / "ct", other, modality="CT", description="ct", elements=elements)
    assert run(study, "out", "--bundle", bundle, *QUICK, "--reference", "ct") == 4
    told = capsys.readouterr().err.strip().splitlines()
    assert "register the CT to the MR first" in told[-1]
    assert not any("slices, 100%" in line for line in told)
    assert not (here / "out").exists()
