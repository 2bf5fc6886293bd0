"""Files that run a program when they are unpickled, wherever a file of a stranger may be read: the program never runs."""

import hashlib
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mr_study import write_mr_study
from paired_sets import write_synthrad
from tiny_bundle import write_tiny_bundle
from training_run import METHODS, recipe

from mrct_cli import boundary, main
from mrct_runtime.errors import BundleError, InputRejectedError
from mrct_train.checkpoint import EMA, STATE, WEIGHTS, Checkpoint, Progress, build_network, save
from mrct_train.checkpoint import load as load_checkpoint
from mrct_train.data import DataSummary, load_pairs

DATA = DataSummary(subjects=1, slices=8, fingerprint="f" * 64, mean=0.25, deviation=0.5)


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture(autouse=True)
def marker(tmp_path, monkeypatch):
    """The file that a payload makes: absent at the end of every test here."""
    monkeypatch.delenv("MRCT_BUNDLE", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = tmp_path / "the-payload-ran"
    yield path
    assert not path.exists()


def forms(marker):
    """The payload as each framework would keep it."""
    saved, array, archive = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": Payload(marker)}, saved)
    np.save(array, np.array([Payload(marker)], object), allow_pickle=True)
    np.savez(archive, x=np.array([Payload(marker)], object))
    return {
        "pickle": pickle.dumps(Payload(marker)),
        "torch": saved.getvalue(),
        "npy": array.getvalue(),
        "npz": archive.getvalue(),
    }


FORMS = ("pickle", "torch", "npy", "npz")


def run(capsys, name, *arguments):
    """(exit code, the one line of the error) of a command."""
    code = boundary.run(main.load(name), f"mrct {name}", [str(a) for a in arguments])
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("mrct: error: ")
    return code, told[-1]


def checkpoint(run_folder):
    config = recipe(**METHODS["sde"])
    weights = build_network(config, DATA).state_dict()
    return save(Checkpoint(config, DATA, Progress(3), weights, weights, {}), run_folder)


def replaced(folder, name, content, listed_in):
    """The file has this content, and its folder says so."""
    (folder / name).write_bytes(content)
    told = json.loads((folder / listed_in).read_text())
    told["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / listed_in).write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")


def test_the_payload_is_one(marker):
    for content in forms(marker).values():
        if content.startswith(b"\x80"):
            pickle.loads(content)
        elif content.startswith(b"\x93NUMPY"):
            np.load(io.BytesIO(content), allow_pickle=True)
        else:
            try:
                torch.load(io.BytesIO(content), weights_only=False)
            except RuntimeError:
                assert np.load(io.BytesIO(content), allow_pickle=True)["x"] is not None
        assert marker.exists()
        marker.unlink()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [WEIGHTS, EMA])
def test_a_checkpoint_that_is_a_pickle_is_refused_though_its_digest_is_right(
    tmp_path, marker, form, name, capsys
):
    folder = checkpoint(tmp_path / "run")
    replaced(folder, name, forms(marker)[form], STATE)
    with pytest.raises(BundleError, match="not a checkpoint of this version"):
        load_checkpoint(folder)
    code, told = run(capsys, "export", tmp_path / "run", "out.mrct")
    assert (code, "not a checkpoint of this version" in told) == (5, True)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("ending", ["pt", "pth", "ckpt", "pkl", "safetensors"])
def test_a_checkpoint_file_of_another_program_is_not_opened(tmp_path, marker, ending, capsys):
    path = tmp_path / f"model.{ending}"
    path.write_bytes(forms(marker)["torch"])
    code, told = run(capsys, "export", path, "out.mrct")
    assert (code, "no checkpoint here" in told) == (3, True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["golden.npz", "model.onnx"])
def test_a_bundle_with_a_pickle_in_it_is_refused_though_its_digest_is_right(
    tmp_path, marker, form, name, capsys
):
    bundle = write_tiny_bundle(tmp_path / "tiny.mrct", size=24)
    study = write_mr_study(tmp_path / "study")
    replaced(bundle, name, forms(marker)[form], "bundle.json")
    code, told = run(capsys, "infer", study, "out", "--bundle", bundle)
    assert (code, name in told) == (5, True)
    assert list(Path().iterdir()) == []


def claiming(shape):
    """An array of that shape as its header says, of which a few bytes are there."""
    content = io.BytesIO()
    described = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content, described)
    return content.getvalue() + bytes(64)


@pytest.mark.parametrize("form", [*FORMS, "plain npz", "giant", "endless"])
def test_prepared_slices_that_are_no_plain_array_are_refused(tmp_path, marker, form):
    write_synthrad(tmp_path / "data/one")
    config, cache = recipe(size=32, spacing_mm=2.0), tmp_path / "cache"
    load_pairs(tmp_path / "data", config, cache, lambda _: None)
    (path,) = cache.rglob("mr.npy")
    archive = io.BytesIO()
    np.savez_compressed(archive, mr=np.zeros((1024, 1024), np.float32))
    others = {
        "plain npz": archive.getvalue(),
        "giant": claiming((1 << 20, 1 << 20, 1 << 20)),
        "endless": claiming((1 << 62, 1 << 62)),
    }
    path.write_bytes((forms(marker) | others)[form])
    with pytest.raises(InputRejectedError, match=r"prepared slices in .* are damaged"):
        load_pairs(tmp_path / "data", config, cache, lambda _: None)


@pytest.mark.parametrize(
    "text", ["!!python/object/apply:pathlib.Path.touch", "!!python/object/apply:os.mknod"]
)
def test_a_recipe_that_asks_for_a_call_is_refused(tmp_path, marker, text, capsys):
    (tmp_path / "evil.yaml").write_text(f"name: {text} ['{marker}']\n")
    write_synthrad(tmp_path / "data/one")
    code, _ = run(capsys, "train", tmp_path / "data", "out", "--config", tmp_path / "evil.yaml")
    assert code == 2
    assert list(Path().iterdir()) == []
