"""The small bundles that come with the package, trained on phantoms, so that every sampler runs at once."""

from __future__ import annotations

from pathlib import Path

from mrct_runtime.errors import BundleError
from mrct_runtime.manifest import Manifest
from mrct_runtime.process import DDPM, VESDE, Direct
from mrct_runtime.samplers import sampler_class

FOLDER = Path(__file__).parent / "bundles"
_BY_PROCESS = {DDPM: "demo-ddpm.mrct", VESDE: "demo-sde.mrct", Direct: "demo-cnn.mrct"}


def demonstration_bundle(sampler: str) -> Path:
    """The demonstration bundle of the sampler's family, the first where it serves several."""
    path = FOLDER / _BY_PROCESS[sampler_class(sampler).families[0]]
    if not path.is_dir():
        raise BundleError(
            f"this installation has no {path.name}, the demonstration model for sampler {sampler}; "
            "give --bundle"
        )
    return path


def demonstration_named(name: str) -> Path | None:
    """The demonstration bundle of that name; None where there is none."""
    path = FOLDER / f"{name}.mrct"
    return path if path.name in _BY_PROCESS.values() and path.is_dir() else None


def is_demonstration(manifest: Manifest) -> bool:
    """Whether a bundle shows the way only: one of those in the package, or one that says it has seen no patient data."""
    names = {Path(name).stem for name in _BY_PROCESS.values()}
    return manifest.name in names or "no patient data" in manifest.training.data.lower()
