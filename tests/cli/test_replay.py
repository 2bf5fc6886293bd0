import json
import shutil
from dataclasses import fields

import pytest
from mr_study import write_mr_study
from tiny_bundle import write_tiny_bundle

from mrct_cli import boundary, main
from mrct_runtime.demonstration import demonstration_bundle
from mrct_runtime.process import Direct
from mrct_runtime.replaying import _Settings
from mrct_runtime.report import RUN, digest_of_run
from mrct_runtime.settings import Settings

WAYS = {
    "plain": ("--sampler", "em", "--steps", 20, "--mc", 3, "--seed", 7, "--batch", 4),
    "a tolerance": ("--steps", 20, "--mc", "2..5", "--mc-tolerance", 200),
    "a published recipe": ("--sampler", "em", "--recipe", "paper", "--mc", 2),
    "a shared way": ("--sampler", "em", "--steps", 20, "--mc", 3, "--branch-at", 0.5),
    "pairs": ("--sampler", "dpmpp", "--steps", 6, "--mc", 4, "--antithetic"),
}


def run(*arguments):
    return boundary.run(main.load("infer"), "mrct-infer", [str(a) for a in arguments])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("replay")
    write_mr_study(place / "study")
    write_tiny_bundle(place / "tiny.mrct", size=24)
    write_tiny_bundle(place / "cnn.mrct", Direct(), size=24)
    return place


def test_a_run_of_a_demonstration_model_needs_no_bundle_to_be_named(place, tmp_path, monkeypatch):
    monkeypatch.delenv("MRCT_BUNDLE", raising=False)
    few = ("--sampler", "ddpm", "--steps", 20, "--mc", 1)
    model = demonstration_bundle("ddpm")
    assert run(place / "study", tmp_path / "first", "--bundle", model, *few) == 0
    assert run(place / "study", tmp_path / "again", "--replay", tmp_path / "first" / RUN) == 0


@pytest.fixture(scope="module")
def out(place):
    """A result of the first way."""
    assert run(place / "study", place / "out", "--bundle", place / "tiny.mrct", *WAYS["plain"]) == 0
    return place / "out"


@pytest.mark.parametrize("way", WAYS)
def test_a_replay_gives_every_voxel_again(way, place, tmp_path, capsys):
    study, bundle = place / "study", ("--bundle", place / "tiny.mrct")
    assert run(study, tmp_path / "first", *bundle, *WAYS[way]) == 0
    assert run(study, tmp_path / "again", *bundle, "--replay", tmp_path / "first" / RUN) == 0
    assert "every voxel is that of the run" in capsys.readouterr().out
    for name in ("sct.nii.gz", "sct_std.nii.gz"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    first, again = (json.loads((tmp_path / n / RUN).read_text()) for n in ("first", "again"))
    for key in ("settings", "sampling", "voxels", "counters", "input"):
        assert first[key] == again[key]


def test_a_warm_start_is_that_of_the_run(place, tmp_path, capsys):
    bundle, study = ("--bundle", place / "tiny.mrct"), place / "study"
    warm = ("--warm-start", place / "cnn.mrct", "--warm-sigma", "1")
    assert run(study, tmp_path / "first", *bundle, *warm, "--steps", 20, "--mc", 2) == 0
    replay = (study, tmp_path / "again", *bundle, "--replay", tmp_path / "first")
    assert run(*replay) == 2
    assert "the run had another warm start (the bundle of sha256" in capsys.readouterr().err
    assert run(*replay, *warm[:3], "2") == 2
    assert run(*replay, *warm) == 0


def test_another_network_another_mr_and_another_setting_are_refused(place, out, tmp_path, capsys):
    again = ("--replay", out / RUN)
    other = write_tiny_bundle(tmp_path / "other.mrct", size=16)
    assert run(place / "study", tmp_path / "again", "--bundle", other, *again) == 5
    assert "the run had the bundle tiny (sha256" in capsys.readouterr().err
    bundle = ("--bundle", place / "tiny.mrct")
    study = write_mr_study(tmp_path / "study", angles=(0, 0, 5))
    for path in study.iterdir():
        _other_instance(path)
    assert run(study, tmp_path / "again", *bundle, *again) == 4
    assert "the MR is not the one of the run" in capsys.readouterr().err
    assert run(place / "study", tmp_path / "again", *bundle, *again, "--seed", 3) == 2
    assert "--replay has the settings of its run: leave --seed out" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_a_voxel_that_differs_ends_the_replay_and_nothing_is_written(place, out, tmp_path, capsys):
    content = json.loads((out / RUN).read_text())
    content["voxels"]["std_hu"] = "0" * 64
    content["versions"]["numpy"] = "1.0"
    (tmp_path / RUN).write_text(json.dumps(content | {"sha256": digest_of_run(content)}))
    command = (place / "study", tmp_path / "again", "--bundle", place / "tiny.mrct")
    assert run(*command, "--replay", tmp_path / RUN) == 9
    told = capsys.readouterr().err.splitlines()[-1]
    assert "std_hu are not those of the run (numpy 1.0, now " in told
    assert not (tmp_path / "again").exists()


def test_what_is_no_run_json_is_refused(place, out, tmp_path, capsys):
    command = (place / "study", tmp_path / "again", "--bundle", place / "tiny.mrct", "--replay")
    assert run(*command, tmp_path / "absent.json") == 3
    shutil.copy(out / RUN, tmp_path / RUN)
    (tmp_path / RUN).write_text((tmp_path / RUN).read_text().replace('"seed": 7', '"seed": 8'))
    assert run(*command, tmp_path / RUN) == 4
    content = json.loads((out / RUN).read_text())
    del content["voxels"]
    (tmp_path / RUN).write_text(json.dumps(content | {"sha256": digest_of_run(content)}))
    assert run(*command, tmp_path / RUN) == 4
    assert "did not write down all that a replay needs (voxels)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place_of_it", "value"),
    [
        ("settings.mc", "3"),
        ("settings.seed", 1.5),
        ("settings.target", {"device": "cpu", "threads": "1"}),
        ("settings.options", [20]),
        ("settings.unknown", 1),
        ("model", ["tiny"]),
        ("voxels.mean_hu", None),
    ],
)
def test_a_run_json_that_says_nonsense_under_a_right_digest_is_refused(
    place_of_it, value, place, out, tmp_path, capsys
):
    content = json.loads((out / RUN).read_text())
    *above, name = place_of_it.split(".")
    holder = content[above[0]] if above else content
    holder[name] = value
    (tmp_path / RUN).write_text(json.dumps(content | {"sha256": digest_of_run(content)}))
    words = (place / "study", tmp_path / "again", "--bundle", place / "tiny.mrct", "--replay")
    assert run(*words, tmp_path / RUN) == 4
    assert f"({place_of_it}" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_a_replay_knows_every_setting():
    assert set(_Settings.model_fields) == {field.name for field in fields(Settings)}


def _other_instance(path):
    from pydicom import dcmread
    from pydicom.uid import generate_uid

    image = dcmread(path)
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.save_as(path)
