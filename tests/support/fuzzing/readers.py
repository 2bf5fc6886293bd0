"""Commands of the tests alone, which read one kind of file by mrct's own functions and print a digest of what they got."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import click


@click.command()
@click.argument("path", type=Path)
def recipe(path: Path) -> None:
    """A training recipe, which has to be the same after it is written and read again."""
    from mrct_train.config import load_config, read_config

    found = read_config(path)
    assert load_config(found.dumps(), "again") == found
    click.echo(found.dumps())


@click.command()
@click.argument("path", type=Path)
def presets(path: Path) -> None:
    """Presets of samplers."""
    from mrct_export.bundle_writer import check_presets, read_presets
    from mrct_runtime.process import VESDE

    found = read_presets(path)
    check_presets(VESDE(), found)
    click.echo(json.dumps(found, sort_keys=True))


@click.command()
@click.argument("path", type=Path)
def split(path: Path) -> None:
    """The parts of a data set."""
    from mrct_runtime.evaluation.cases import _read_split

    found = _read_split(path)
    click.echo(json.dumps({part: sorted(names) for part, names in found.items()}))


@click.command()
@click.argument("path", type=Path)
def node(path: Path) -> None:
    """A node's configuration."""
    from mrct_cli.serve import _check_infer, configured

    found = configured(path, {})
    _check_infer(found)
    click.echo(found.model_dump_json())


@click.command()
@click.argument("path", type=Path)
def checkpoint(path: Path) -> None:
    """A training's network, whose output has the shape of an image."""
    import torch

    from mrct_train.checkpoint import latest, load, load_network

    network, config, _ = load_network(path)
    x = torch.zeros(1, 1, 8, 8)
    with torch.no_grad():
        found = network(x, x, torch.ones(1)) if config.method in {"ddpm", "sde"} else network(x)
    assert found.shape == x.shape
    saved = load(latest(path) or path)
    digest = hashlib.sha256(saved.config.dumps().encode())
    for group in (saved.weights, saved.ema, saved.optimizer):
        for name in sorted(group):
            digest.update(name.encode() + group[name].numpy().tobytes())
    click.echo(digest.hexdigest())


@click.command()
@click.argument("data", type=Path)
@click.argument("cache", type=Path)
def pairs(data: Path, cache: Path) -> None:
    """Prepared slices, finite and of one shape."""
    import numpy as np
    from training_run import recipe as written

    from mrct_train.data import load_pairs

    found = load_pairs(data, written(size=32, spacing_mm=2.0), cache, lambda _: None)
    digest = hashlib.sha256()
    for subject in found.subjects:
        assert len({array.shape for array in subject.slices}) == 1
        for array in subject.slices:
            assert np.isfinite(array).all()
            digest.update(np.ascontiguousarray(array).tobytes())
    click.echo(digest.hexdigest())


@click.command()
@click.argument("path", type=Path)
def instance(path: Path) -> None:
    """An instance as a node looks at it, which takes it or answers with a status."""
    from pydicom import dcmread

    from mrct_runtime.errors import InputRejectedError
    from mrct_runtime.node.instance import RefusedInstanceError, examined

    sent = dcmread(path.with_name("sent.dcm"), stop_before_pixels=True)
    try:
        found = examined(path, sent.SOPClassUID, sent.SOPInstanceUID)
    except RefusedInstanceError as error:
        raise InputRejectedError(f"status {error.status:04x}: {error}") from error
    assert found.instance_uid == sent.SOPInstanceUID
    click.echo(found.study_uid)


@click.command()
@click.argument("bundle_path", type=Path)
@click.argument("study", type=Path)
@click.option("--journal", "kept", type=Path)
def translation(bundle_path: Path, study: Path, kept: Path | None) -> None:
    """The voxels of a translation as `mrct infer` makes it, without its files and pictures, which take half a second."""
    from contextlib import nullcontext

    import numpy as np

    from fuzzing.seeds import STEPS
    from mrct_runtime.bundle import Bundle
    from mrct_runtime.digests import voxel_digests
    from mrct_runtime.engines.target import Target
    from mrct_runtime.process import Direct
    from mrct_runtime.settings import Settings
    from mrct_runtime.translate import prepare

    bundle = Bundle.load(bundle_path)
    plan = {} if isinstance(bundle.process, Direct) else {"mc": 2, "options": {"steps": STEPS}}
    target = Target("cpu", threads=1)
    settings = Settings(bundle.sampler, batch=3, target=target, **plan)
    job = prepare(bundle, study, settings)
    engine = job.open_engine()
    with nullcontext() if kept is None else job.journal(kept, engine) as journal:
        result = job.run(engine, journal=journal)
    engine.close()
    for volume in (result.mean_hu, result.std_hu):
        assert volume.grid.shape == job.source.volume.grid.shape
        assert np.isfinite(volume.array).all()
        assert -1100 <= volume.array.min() <= volume.array.max() <= 4000
    click.echo(json.dumps(voxel_digests(result.mean_hu, result.std_hu), sort_keys=True))


@click.command()
@click.argument("path", type=Path)
def measurement(path: Path) -> None:
    """What a measurement tells beside another one."""
    from fuzzing.seeds import MEASUREMENT
    from mrct_cli.bench import _old, _print_changes

    _print_changes(_old(path), MEASUREMENT)
    click.echo("compared")


READERS = {
    "read-measurement": measurement,
    "read-translation": translation,
    "read-recipe": recipe,
    "read-presets": presets,
    "read-split": split,
    "read-node": node,
    "read-checkpoint": checkpoint,
    "read-pairs": pairs,
    "read-instance": instance,
}
