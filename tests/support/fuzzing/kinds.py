"""Every kind of input: its seed, how its files are mutated, the commands that read it, and what a success of them gave."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import nibabel
import numpy as np

from fuzzing import seals, seeds
from fuzzing.byte_mutations import BYTES, Mutation
from fuzzing.dicom_mutations import DICOM, of_another_patient
from fuzzing.json_mutations import JSON, LINES, laid_out_anew
from fuzzing.onnx_mutations import NPZ, ONNX, SAFETENSORS
from mrct_runtime.verification import verify

Mutations: TypeAlias = tuple[Mutation, ...]
Result: TypeAlias = Callable[[Path, str], str]
"""What a success gave, of the folder and all that was printed; AssertionError where it cannot be right."""


@dataclass(frozen=True)
class Kind:
    """One kind of input. `files` are its patterns with the mutations of each, `commands` run in its folder.

    `seal` makes digests right again after a change. Where a kind is `verified`, a success without that gave what the seed
    gives, and so does one after `harmless` mutations, of any kind.
    """

    name: str
    seed: Callable[[Path], None]
    files: dict[str, Mutations]
    commands: tuple[str, ...]
    result: Result
    share: int
    harmless: Mutations = ()
    seal: Callable[[Path, str], None] | None = None
    verified: bool = False
    training: bool = False


def printed(_folder: Path, told: str) -> str:
    """What the command printed."""
    assert told.strip()
    return told


def finished(_folder: Path, _told: str) -> str:
    """Nothing but the fact that it ended well."""
    return "finished"


def surveyed(_folder: Path, told: str) -> str:
    """The JSON of a survey, in which a stack is used, with its slices; the plan of a translation; or its voxels' digests."""
    if not told.startswith("{"):
        assert "slices of" in told
        return "planned"
    found = json.loads(told)
    if "mean_hu" in found:
        return told
    used = [stack for stack in found["stacks"] if stack["name"] == found["used"]]
    assert len(used) == 1
    assert used[0]["slices"] >= 1
    return json.dumps(used, sort_keys=True)


def translated(folder: Path, _told: str) -> str:
    """The digest of a result's voxels, which are finite and inside the HU window, and intact by their run.json."""
    assert verify(folder / "out").intact
    run = json.loads((folder / "out" / "run.json").read_text())
    assert run["notice"]
    (path,) = (p for p in (folder / "out").iterdir() if p.name in {"sct.nii.gz", "sct.mha"})
    if path.suffix == ".mha":
        import SimpleITK as sitk

        voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    else:
        voxels = np.asarray(nibabel.load(path).dataobj)
    assert voxels.ndim == 3
    assert np.isfinite(voxels).all()
    assert -1100 <= voxels.min() <= voxels.max() <= 4000
    return hashlib.sha256(np.ascontiguousarray(voxels).tobytes()).hexdigest()


def dicom(folder: Path, told: str) -> str:
    """That of a survey, a plan or a translation, whichever was asked for."""
    return translated(folder, told) if (folder / "out").is_dir() else surveyed(folder, told)


def data_set(_folder: Path, told: str) -> str:
    """The counts of a data set without a fault."""
    found = json.loads(told)
    assert found["counts"]["wrong"] == 0 if "counts" in found else found
    return json.dumps(found, sort_keys=True)


_OF_STUDY = "--bundle tiny.mrct --device cpu --threads 1 --quiet"
_STUDIES = (
    *(("check study --json",) * 9),
    *((f"infer study out {_OF_STUDY} --dry-run",) * 4),
    *(("read-translation tiny.mrct study",) * 4),
    f"infer study out {_OF_STUDY}",
)
# their decoder is a process of its own, which has to start: of the rest only what reads pixels
_COMPRESSED = ("check study --json", "read-translation tiny.mrct study")
_PLAN = " ".join(seeds.PLAN)


def _of_dicom(
    name: str, seed: Callable[[Path], None], share: int, commands: tuple[str, ...] = _STUDIES
) -> Kind:
    return Kind(
        name,
        seed,
        {"study/*.dcm": (*BYTES, *DICOM, *DICOM)},
        commands,
        dicom,
        share,
        harmless=(of_another_patient,),
    )


def _of_settings(name: str, command: str, files: dict[str, Mutations], share: int) -> Kind:
    file = next(iter(files))
    return Kind(name, seeds.settings, files, (f"{command} {file}",), printed, share, training=True)


def _of_volume(ending: str, patterns: tuple[str, ...], share: int) -> Kind:
    return Kind(
        f"volume .{ending}",
        seeds.volumes,
        dict.fromkeys(patterns, (*BYTES, *BYTES, *LINES) if ending == "mhd" else BYTES),
        (
            *((f"infer mr.{ending} out {_OF_STUDY} --dry-run",) * 5),
            *((f"read-translation tiny.mrct mr.{ending}",) * 4),
            f"infer mr.{ending} out {_OF_STUDY}",
        ),
        dicom,
        share,
    )


_JSON = (*JSON, *JSON, *BYTES)
_LINES = (*LINES, *LINES, *BYTES)
_BUNDLE = {
    "tiny.mrct/bundle.json": _JSON,
    "tiny.mrct/model.onnx": (*BYTES, *ONNX, *ONNX),
    "tiny.mrct/golden.npz": (*BYTES, *NPZ),
    "tiny.mrct/card.md": BYTES,
}
_CHECKPOINT: dict[str, Mutations] = {
    "run/checkpoint-*/state.json": _JSON,
    "run/checkpoint-*/*.safetensors": (*BYTES, *SAFETENSORS, *SAFETENSORS),
}

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _of_dicom("DICOM explicit", seeds.classic, 14),
        _of_dicom("DICOM implicit", seeds.implicit, 8),
        _of_dicom("DICOM big endian", seeds.big_endian, 4),
        _of_dicom("DICOM frames", seeds.frames, 10),
        _of_dicom("DICOM RLE", seeds.run_lengths, 2, _COMPRESSED),
        _of_dicom("DICOM JPEG", seeds.jpeg, 2, _COMPRESSED),
        _of_dicom("DICOM JPEG 2000", seeds.wavelets, 2, _COMPRESSED),
        Kind(
            "DICOM received",
            seeds.instance,
            {"instance.dcm": (*BYTES, *DICOM)},
            ("read-instance instance.dcm",),
            printed,
            3,
        ),
        _of_volume("nii", ("mr.nii",), 5),
        _of_volume("nii.gz", ("mr.nii.gz",), 4),
        _of_volume("mha", ("mr.mha",), 4),
        _of_volume("mhd", ("mr.mhd", "mr.raw"), 4),
        Kind(
            "paired volumes",
            seeds.paired,
            dict.fromkeys(
                ("data/one/mr.nii.gz", "data/one/ct.nii.gz", "data/one/mask.nii.gz"), BYTES
            ),
            ("check data --json",),
            data_set,
            3,
        ),
        Kind(
            "bundle",
            seeds.bundle,
            _BUNDLE,
            (*(("read-translation tiny.mrct mr.nii",) * 9), f"infer mr.nii out {_PLAN}"),
            dicom,
            16,
            seal=seals.seal_bundle,
            verified=True,
        ),
        Kind(
            "result",
            seeds.result,
            {"out/run.json": _JSON, "out/*": BYTES},
            ("verify out",),
            finished,
            4,
            harmless=(laid_out_anew,),
            seal=seals.seal_result,
        ),
        Kind(
            "replay",
            seeds.result,
            {"out/run.json": _JSON},
            ("infer mr.nii again --bundle tiny.mrct --replay out/run.json --quiet",),
            finished,
            4,
            seal=seals.seal_result,
        ),
        Kind(
            "journal",
            seeds.journal,
            {".out.work/journal/log.jsonl": (*_LINES, *BYTES), ".out.work/journal/*.npy": BYTES},
            (
                *(("read-translation tiny.mrct mr.nii --journal .out.work/journal",) * 9),
                f"infer mr.nii out {_PLAN}",
            ),
            dicom,
            4,
            seal=seals.seal_journal,
            verified=True,
        ),
        Kind(
            "many",
            seeds.many,
            {
                "outs/.mrct/*.json": _JSON,
                "outs/.mrct/failed/*.json": _JSON,
                "outs/.mrct/key": BYTES,
            },
            ("merge outs --json -", "merge outs --studies studies"),
            finished,
            3,
        ),
        _of_settings("recipe .toml", "read-recipe", {"recipe.toml": _LINES}, 4),
        _of_settings("recipe .yaml", "read-recipe", {"plain.yaml": _LINES}, 4),
        _of_settings("recipe as JSON", "read-recipe", {"recipe.yaml": _JSON}, 3),
        _of_settings("presets .json", "read-presets", {"presets.json": _JSON}, 2),
        _of_settings("presets .toml", "read-presets", {"presets.toml": _LINES}, 2),
        _of_settings("split", "read-split", {"split.json": _JSON}, 2),
        _of_settings("measurement", "read-measurement", {"bench.json": _JSON}, 2),
        _of_settings("node", "read-node", {"node.toml": _LINES}, 3),
        Kind(
            "checkpoint",
            seeds.training,
            _CHECKPOINT,
            ("read-checkpoint run",),
            printed,
            10,
            seal=seals.seal_checkpoint,
            verified=True,
            training=True,
        ),
        Kind(
            "prepared slices",
            seeds.slices,
            {"cache/**/*.npy": BYTES, "cache/**/*.json": _JSON},
            ("read-pairs SEED/data cache",),
            printed,
            3,
            verified=True,
            training=True,
        ),
    )
}
