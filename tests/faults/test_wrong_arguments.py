"""Every command with every kind of wrong input: a code of the table, one line, no traceback, nothing left behind."""

import os
import re
import signal
import socket
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import pytest
from mr_study import SHAPE, write_mr_study
from paired_sets import write_synthrad
from tiny_bundle import write_tiny_bundle
from training_run import METHODS, recipe
from unprivileged import permissions_count

from mrct_cli import boundary, main
from mrct_cli.paths import PathType
from mrct_runtime.bundle import Bundle
from mrct_runtime.dicom import read_study
from mrct_runtime.nifti import write_nifti
from mrct_runtime.process import Direct
from mrct_runtime.volume import Volume
from mrct_train.checkpoint import Checkpoint, Progress, build_network, save
from mrct_train.data import DataSummary

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
CODES = {
    int(code)
    for row in re.findall(r"^\| ([\d, ]+) \|", README.partition("## Exit codes")[2], re.MULTILINE)
    for code in row.split(",")
}
# What a user may have done wrong; 0 and 1 would be a mistake of ours.
FAULTS = CODES - {0, 1, 130, 143}

SECONDS = 20
# Words that work, names in capitals being paths below; each path is made wrong in its turn.
WORKING = {
    "infer": "STUDY out --bundle BUNDLE --steps 20 --mc 2 --sampler em --warm-start DIRECT --reference REFERENCE",
    "train": "DATA out --config RECIPE --cache cache --steps 1 --device cpu",
    "export": "RUN out.mrct --presets PRESETS --fp16 --audit DATA",
    "eval": "BUNDLE DATA --out out --split SPLIT --samplers em --steps 2 --mc 2 --device cpu",
    "calibrate": "BUNDLE DATA --split SPLIT --samplers em --mc 2 --device cpu",
    "tune": "BUNDLE DATA --out out --split SPLIT --samplers em --device cpu",
    "check": "DATA",
    "merge": "OUTS --studies STUDIES; OUTS --json out.json",
    "verify": "RESULT --json out.json",
    "doctor": "BUNDLE --json out.json",
    "bench": "BUNDLE --checkpoint RUN --json out.json --png out.png --quick; BUNDLE --compare OLD --quick",
    "phantom": "out --subjects 1 --size 32 --slices 2",
}


# It runs until it is told to stop; its wrong words are tried in tests/cli/test_serve.py.
SERVING = {"serve"}


def path_words(name):
    """(words, place of a path in them, whether it is written) for each path in the working words of a command."""
    for line in WORKING[name].split(";"):
        words = line.split()
        for place, word in enumerate(words):
            if word.isupper() and not word.startswith("-"):
                yield words, place, False
            elif word.split(".")[0] in {"out", "cache"}:
                yield words, place, True


def missing(place):
    return place / "wrong-absent"


def below_a_file(place):
    (place / "wrong-file").write_text("text")
    return place / "wrong-file" / "wrong-below.mrct"


def empty_file(place):
    (place / "wrong-empty").touch()
    return place / "wrong-empty"


def empty_dicom(place):
    (place / "wrong-empty.dcm").touch()
    return place / "wrong-empty.dcm"


def empty_volume(place):
    (place / "wrong-empty.nii.gz").touch()
    return place / "wrong-empty.nii.gz"


def garbage(place):
    (place / "wrong-garbage").write_bytes(bytes(range(256)) * 8)
    return place / "wrong-garbage"


def empty_folder(place):
    (place / "wrong-folder").mkdir()
    return place / "wrong-folder"


def folder_of_garbage(place):
    (place / "wrong-folder").mkdir()
    for name in ("bundle.json", "run.json", "wrong-1.dcm", "state.json", "mr.nii.gz", "model.onnx"):
        (place / "wrong-folder" / name).write_bytes(b"\x00\xff{")
    return place / "wrong-folder"


def folder_of_empty_files(place):
    (place / "wrong-folder").mkdir()
    for name in ("bundle.json", "run.json", "wrong-1.dcm", "state.json", "mr.nii.gz", "model.onnx"):
        (place / "wrong-folder" / name).touch()
    return place / "wrong-folder"


def folders_with_the_names_of_files(place):
    for name in ("bundle.json", "run.json", "wrong-1.dcm", "state.json", "mr.nii.gz"):
        (place / "wrong-folder" / name).mkdir(parents=True)
    return place / "wrong-folder"


def folder_of_unreadable_files(place):
    folder = folder_of_garbage(place)
    for path in folder.iterdir():
        path.chmod(0)
    return folder


def unreadable_file(place):
    (place / "wrong-secret").write_text("{}")
    (place / "wrong-secret").chmod(0)
    return place / "wrong-secret"


def unreadable_folder(place):
    (place / "wrong-secrets").mkdir(mode=0)
    return place / "wrong-secrets"


def dangling_link(place):
    (place / "wrong-link").symlink_to(place / "wrong-absent")
    return place / "wrong-link"


def link_to_itself(place):
    (place / "wrong-loop").symlink_to(place / "wrong-loop")
    return place / "wrong-loop"


def pipe(place):
    os.mkfifo(place / "wrong-pipe")
    return place / "wrong-pipe"


def a_socket(place):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(place / "wrong-s"))
    return place / "wrong-s"


def below_an_unreadable_folder(place):
    (place / "wrong-cave").mkdir(mode=0)
    return place / "wrong-cave" / "below"


def name_too_long(place):
    return place / f"wrong-{'x' * 300}"


def name_that_is_no_text(place):
    return Path(os.fsdecode(os.fsencode(place) + b"/wrong-\xff\xfe"))


def the_empty_path(_place):
    return ""


READ = (
    *(missing, below_a_file, empty_file, empty_dicom, empty_volume, garbage, empty_folder),
    *(folder_of_garbage, folder_of_empty_files, folders_with_the_names_of_files),
    folder_of_unreadable_files,
    *(
        unreadable_file,
        unreadable_folder,
        below_an_unreadable_folder,
        dangling_link,
        link_to_itself,
        pipe,
        a_socket,
    ),
    *(name_too_long, name_that_is_no_text, the_empty_path),
)


def below_an_unwritable_folder(place):
    (place / "wrong-closed").mkdir(mode=0o500)
    return place / "wrong-closed" / "wrong-out.mrct"


def full_folder(place):
    (place / "wrong-full").mkdir()
    (place / "wrong-full" / "mine").write_text("mine")
    return place / "wrong-full"


WRITTEN = (
    *(below_a_file, garbage, full_folder, below_an_unwritable_folder, link_to_itself, pipe),
    *(name_too_long, the_empty_path),
)


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """The paths that the capitals stand for."""
    folder = tmp_path_factory.mktemp("right")
    for name in ("a", "b", "c"):
        write_synthrad(folder / "data" / name)
    config = recipe(**METHODS["sde"])
    data = DataSummary(subjects=1, slices=8, fingerprint="f" * 64, mean=0.25, deviation=0.5)
    weights = build_network(config, data).state_dict()
    save(Checkpoint(config, data, Progress(3), weights, weights, {}), folder / "run")
    (folder / "recipe.toml").write_text(
        'method = "sde"\nsize = 32\nspacing_mm = 2.0\n[unet]\nbase = 4\nmultipliers = [1, 2]\n'
    )
    (folder / "presets.json").write_text('{"em": {"steps": 2}}')
    (folder / "split.json").write_text('{"training": ["a"], "validation": ["b"], "test": ["c"]}')
    (folder / "old.json").write_text("{}")
    study, bundle = (
        write_mr_study(folder / "study"),
        write_tiny_bundle(folder / "tiny.mrct", size=24),
    )
    result = Bundle.load(bundle).translate(study, mc=2, options={"steps": 20})
    return {
        "STUDY": study,
        "BUNDLE": bundle,
        "DIRECT": write_tiny_bundle(folder / "direct.mrct", Direct(), size=24),
        "DATA": folder / "data",
        "RECIPE": folder / "recipe.toml",
        "PRESETS": folder / "presets.json",
        "SPLIT": folder / "split.json",
        "RUN": folder / "run",
        "RESULT": result.save(folder / "result"),
        "OLD": folder / "old.json",
        "REFERENCE": _reference(folder, study),
        "STUDIES": study.parent / "studies",
        "OUTS": _outs(folder, bundle),
    }


def _reference(folder, study):
    """A CT of water on the study's grid."""
    write_nifti(
        Volume(np.zeros(SHAPE, np.float32), read_study(study).volume.grid), folder / "ct.nii.gz"
    )
    return folder / "ct.nii.gz"


def _outs(folder, bundle):
    """The results of a folder of one study."""
    write_mr_study(folder / "studies/a")
    words = [folder / "studies", folder / "outs", "--all", "--bundle", bundle, "--steps", 20]
    infer = main.load("infer")
    assert boundary.run(infer, "mrct-infer", [*map(str, words), "--mc", "2", "--quiet"]) == 0
    return folder / "outs"


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.delenv("MRCT_BUNDLE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    (tmp_path / "w").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


class Waited(BaseException):
    """Of a call that does not come back."""


@contextmanager
def limited(seconds):
    """A read that waits for ever is one that fails."""

    def stop(_number, _frame):
        raise Waited(f"nothing within {seconds} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def check_refusal(capsys, work, name, words):
    """The line that the command ends with."""
    with permissions_count(), limited(SECONDS):
        code = boundary.run(main.load(name), f"mrct {name}", [str(word) for word in words])
    told = capsys.readouterr()
    lines = told.err.splitlines()
    said = [line for line in lines if line.startswith("mrct: error: ")]
    assert code in FAULTS, (code, told.err)
    assert said == lines[-1:], told.err
    assert "Traceback" not in told.err + told.out
    assert list(work.iterdir()) == [], "left behind"
    return lines[-1]


# What is no fault: a report replaces an older one, a pipe may yet be written to or read from, a run may share its folder.
FAULTLESS = {
    *(("out.json", garbage), ("out.png", garbage), ("out.json", pipe), ("out.png", pipe)),
    *((name, pipe) for name in ("PRESETS", "SPLIT", "OLD", "RECIPE")),
    # a bench without PyTorch's figures is one
    *(("bench-RUN", folder_of_garbage), ("bench-RUN", folder_of_empty_files)),
    ("bench-RUN", folder_of_unreadable_files),
    *(("RECIPE", empty_file), ("cache", full_folder), ("train-out", full_folder)),
}
# The line has the name of the wrong path, or else one of these.
SAID = re.compile(
    r"wrong-|an empty path|the presets are empty|run\.json|subjects cannot be used|reference"
    r"|no studies there|studies have no result|no such folder, or not readable|nothing of mrct-infer --all there"
)


def cases():
    seen = set()
    for name in WORKING:
        for words, place, is_written in path_words(name):
            for make in WRITTEN if is_written else READ:
                keys = {(words[place], make), (f"{name}-{words[place]}", make)}
                label = f"{name}-{words[place]}-{make.__name__}"
                if label not in seen and not keys & FAULTLESS:
                    yield pytest.param(name, words, place, make, id=label)
                seen.add(label)


@pytest.mark.parametrize(("name", "words", "place", "make"), list(cases()))
def test_a_wrong_path_is_refused_in_a_line(name, words, place, make, right, work, tmp_path, capsys):
    words = [right.get(word, word) for word in words]
    words[place] = make(tmp_path / "w")
    before = sorted((tmp_path / "w").rglob("*"))
    said = check_refusal(capsys, work, name, words)
    assert SAID.search(said), said
    assert sorted((tmp_path / "w").rglob("*")) == before


def options(kind):
    for name in WORKING:
        for parameter in main.load(name).params:
            if isinstance(parameter, click.Option) and isinstance(parameter.type, kind):
                yield name, parameter.opts[0], parameter.nargs


@pytest.mark.parametrize(
    ("name", "option", "count"),
    list(options((click.types.IntParamType, click.types.FloatParamType, click.Choice))),
)
def test_a_word_where_a_number_or_a_choice_belongs_is_refused(
    name, option, count, right, work, capsys
):
    words = [right.get(word, word) for word in WORKING[name].split(";")[0].split()]
    check_refusal(capsys, work, name, [*words, option, *["nonsense"] * count])


NUMBERS = list(options((click.types.IntParamType, click.types.FloatParamType)))


@pytest.mark.parametrize("value", ["-1", "nan", "1e999"])
@pytest.mark.parametrize(
    ("name", "option", "count"),
    [each for each in NUMBERS if each[0] in {"infer", "eval", "phantom"}],
)
def test_a_number_that_makes_no_sense_never_ends_in_a_fault_of_ours(
    name, option, count, value, right, work, capsys
):
    words = [right.get(word, word) for word in WORKING[name].split()]
    with limited(SECONDS):
        code = boundary.run(
            main.load(name), f"mrct {name}", [*map(str, words), option, *[value] * count]
        )
    told = capsys.readouterr().err
    assert code in FAULTS | {0}, told
    assert "Traceback" not in told
    assert code == 0 or (
        told.splitlines()[-1].startswith("mrct: error: ") and not any(work.iterdir())
    )


@pytest.mark.parametrize("name", WORKING)
def test_an_unknown_option_and_a_missing_argument_are_refused(name, work, capsys):
    check_refusal(capsys, work, name, ["--nonsense"])
    check_refusal(capsys, work, name, ["a"] * 9)
    if any(p.required for p in main.load(name).params):
        check_refusal(capsys, work, name, [])


def test_every_path_of_every_command_is_walked():
    assert WORKING.keys() | SERVING == main.COMMANDS.keys(), "add the command, with words that work"
    for name, words in WORKING.items():
        for parameter in main.load(name).params:
            # a replay has the settings of its run; what is wrong with it is tried in tests/cli/test_replay.py
            if parameter.name == "replay_path":
                continue
            if isinstance(parameter.type, PathType) and isinstance(parameter, click.Option):
                assert set(parameter.opts) & set(words.split()), (name, parameter.opts)
