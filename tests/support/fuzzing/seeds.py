"""Small valid inputs of every kind, made by the project's own writers; each function fills a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import chdir, nullcontext
from itertools import count
from pathlib import Path
from random import Random
from types import SimpleNamespace
from unittest import mock

import numpy as np
import SimpleITK as sitk
from dicom_study import make_grid, write_series
from many_studies import write_studies
from mr_study import SHAPE, blob
from pydicom import dcmread, dcmwrite
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)
from tiny_bundle import write_tiny_bundle

from mrct_cli import boundary, main, telling
from mrct_runtime.metaimage import write_metaimage
from mrct_runtime.nifti import write_nifti
from mrct_runtime.process import Direct
from mrct_runtime.volume import Volume

GRID = make_grid(SHAPE, (3.0, 2.0, 2.0))
SLICES = 3
SMALL = make_grid((SLICES, 12, 12), (3.0, 4.0, 4.0))
SIZE = 12


def run(*words: object) -> int:
    """The exit code of a command."""
    name, *arguments = map(str, words)
    return boundary.run(main.load(name), f"mrct {name}", arguments)


def _study(place: Path, **options: object) -> list[Path]:
    write_tiny_bundle(place / "tiny.mrct", Direct(), size=SIZE)
    return write_series(place / "study", SMALL, blob(SMALL.shape), **options)


def classic(place: Path) -> None:
    """A series in explicit VR little endian."""
    _study(place)


def big_endian(place: Path) -> None:
    """A series in explicit VR big endian."""
    _study(place, big_endian=True)


def implicit(place: Path) -> None:
    """A series without VRs."""
    for path in _study(place):
        image = dcmread(path)
        image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dcmwrite(path, image, implicit_vr=True, little_endian=True, enforce_file_format=True)


def run_lengths(place: Path) -> None:
    """A series in RLE."""
    for path in _study(place):
        image = dcmread(path)
        image.compress(RLELossless, generate_instance_uid=False)
        dcmwrite(path, image, enforce_file_format=True)


def jpeg(place: Path) -> None:
    """A series in lossless JPEG."""
    _compressed(place, "JPEG")


def wavelets(place: Path) -> None:
    """A series in lossless JPEG 2000."""
    _compressed(place, "JPEG2000")


def _compressed(place: Path, name: str) -> None:
    """A series whose pixels SimpleITK has compressed."""
    for path in _study(place):
        image = dcmread(path)
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(place / "one.dcm"))
        writer.UseCompressionOn()
        writer.SetCompressor(name)
        writer.Execute(sitk.GetImageFromArray(image.pixel_array))
        packed = dcmread(place / "one.dcm")
        image.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
        image.PixelData = encapsulate(list(generate_frames(packed.PixelData, number_of_frames=1)))
        image["PixelData"].VR = "OB"
        dcmwrite(path, image, enforce_file_format=True)
    (place / "one.dcm").unlink()


def frames(place: Path) -> None:
    """The series as frames of one enhanced image, made by highdicom."""
    from highdicom.legacy import LegacyConvertedEnhancedMRImage

    images = [dcmread(path) for path in _study(place)]
    for image in images:
        image.PatientOrientation = ["L", "P"]
    shutil.rmtree(place / "study")
    made = LegacyConvertedEnhancedMRImage(
        images,
        series_instance_uid=generate_uid(),
        series_number=4,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    (place / "study").mkdir()
    made.save_as(place / "study" / "frames.dcm", enforce_file_format=True)


def instance(place: Path) -> None:
    """One file as a node receives it, and the same as it was sent."""
    path, *_ = _study(place)
    for name in ("instance.dcm", "sent.dcm"):
        shutil.copy(path, place / name)


def volumes(place: Path) -> None:
    """The MR as NIfTI, packed and plain, and as MetaImage in one file and in two."""
    write_tiny_bundle(place / "tiny.mrct", Direct(), size=SIZE)
    volume = Volume(blob(SMALL.shape).astype(np.float32), SMALL)
    for ending in ("nii", "nii.gz"):
        write_nifti(volume, place / f"mr.{ending}")
    write_metaimage(volume, place / "mr.mha")
    sitk.WriteImage(sitk.ReadImage(str(place / "mr.mha")), str(place / "mr.mhd"))


def paired(place: Path) -> None:
    """A training set with a subject of volumes and one of pictures."""
    from paired_sets import write_synthrad

    write_synthrad(place / "data" / "one")


def bundle(place: Path) -> None:
    """A diffusion network's bundle and a volume to translate."""
    write_tiny_bundle(place / "tiny.mrct", size=SIZE)
    write_nifti(Volume(blob(SMALL.shape).astype(np.float32), SMALL), place / "mr.nii")


def result(place: Path) -> None:
    """A result, and what it was made of."""
    bundle(place)
    with chdir(place):
        assert run("infer", "mr.nii", "out", *PLAN) == 0


STEPS = 20
PLAN = (
    *("--bundle", "tiny.mrct", "--sampler", "em", "--steps", str(STEPS), "--mc", "2"),
    *("--batch", "3"),
    *("--device", "cpu", "--threads", "1", "--quiet"),
)


def journal(place: Path) -> None:
    """What a translation leaves that was interrupted after its first slice."""
    bundle(place)
    interrupting = SimpleNamespace(batch_finished=_interrupt_at_the_second(), evaluated=_ignore)
    watching = mock.patch.object(telling.Teller, "watching", return_value=nullcontext(interrupting))
    with chdir(place), watching:
        assert run("infer", "mr.nii", "out", *PLAN) == boundary.INTERRUPTED
    assert list(place.glob(".out.work/journal/slice-*.npy"))


def _interrupt_at_the_second() -> Callable[[object], None]:
    calls = count(1)

    def batch_finished(_progress: object) -> None:
        if next(calls) == 2:
            raise KeyboardInterrupt

    return batch_finished


def _ignore(*_: object) -> None:
    pass


def many(place: Path) -> None:
    """Results of many studies, of which one failed."""
    write_tiny_bundle(place / "tiny.mrct", Direct(), size=24)
    write_studies(place / "studies", 2)
    (place / "studies" / "patient-1" / "MR4_000.dcm").unlink()
    with chdir(place):
        words = ("--all", "--bundle", "tiny.mrct", "--device", "cpu", "--quiet")
        assert run("infer", "studies", "outs", *words) == 8


MEASUREMENT = {
    "schema": 1,
    "machine": {"processor": "A", "cores": 2, "instructions": ["avx2"]},
    "gpus": [{"name": "T4"}],
    "driver": None,
    "versions": {"numpy": "2.0"},
    "bundle": {"model_sha256": "f", "size": 16},
    "slice_plan": {"sampler": "em", "options": {"steps": 2}, "mc": 10},
    "evaluations": [{"candidate": "a", "batch": 1, "p50_ms": 4.0}],
    "slices": [{"candidate": "a", "seconds": 3.0}],
}


def settings(place: Path) -> None:
    """A recipe as TOML and YAML, presets as TOML and JSON, a split, a node's configuration, a measurement."""
    from training_run import TINY

    from mrct_train.config import validated

    recipe = validated(TINY | {"method": "sde"}, "seed")
    (place / "recipe.toml").write_text(recipe.dumps())
    lines = json.dumps(TINY | {"method": "sde"}, indent=2)
    (place / "recipe.yaml").write_text(lines)
    (place / "plain.yaml").write_text(
        "method: sde\nsize: 8\nsteps: 20 # few\nunet:\n  base: 4\n  multipliers: [1, 2]\n  blocks: 1\n"
        "augmentation: {mirror: yes_please, rotation_degrees: 5}\n".replace("yes_please", "true")
    )
    (place / "presets.json").write_text('{"em": {"steps": 20}, "pc": {"steps": 10, "snr": 0.1}}\n')
    (place / "presets.toml").write_text("[em]\nsteps = 20\n\n[dpmpp]\nsteps = 6\n")
    (place / "bench.json").write_text(json.dumps(MEASUREMENT))
    parts = {"training": ["a", "b"], "validation": ["c"], "test": ["one"]}
    (place / "split.json").write_text(json.dumps(parts))
    (place / "node.toml").write_text(
        'title = "MRCT"\nspool = "spool"\nport = 11112\nquiet_s = 10.0\ninfer = ["--mc", "2"]\n\n'
        '[[callers]]\ntitle = "PACS"\naddresses = ["127.0.0.1"]\n\n'
        '[destination]\ntitle = "PACS"\nhost = "127.0.0.1"\nport = 104\n'
    )


def training(place: Path) -> None:
    """A checkpoint of a network with random weights."""
    import torch
    from training_run import METHODS, recipe

    from mrct_train.checkpoint import Checkpoint, Progress, build_network, save
    from mrct_train.data import DataSummary

    torch.manual_seed(0)
    data = DataSummary(subjects=1, slices=8, fingerprint="f" * 64, mean=0.25, deviation=0.5)
    config = recipe(**METHODS["sde"])
    weights = build_network(config, data).state_dict()
    moments = {f"exp_avg.{name}": tensor for name, tensor in weights.items()}
    save(Checkpoint(config, data, Progress(3), weights, weights, moments), place / "run")


def slices(place: Path) -> None:
    """Prepared slices in their cache, and the data that they were made of."""
    from paired_sets import write_synthrad
    from training_run import recipe

    from mrct_train.data import load_pairs

    write_synthrad(place / "data" / "one")
    load_pairs(place / "data", recipe(size=32, spacing_mm=2.0), place / "cache", lambda _: None)


def seeded(*words: object) -> Random:
    """The chance of a mutant: the same for the same words, on any machine."""
    return Random(" ".join(map(str, words)))
