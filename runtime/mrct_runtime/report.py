"""run.json: what was done, with what, and the digests of what came out. It holds no patient data."""

from __future__ import annotations

import hashlib
import json
import platform
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from mrct_runtime import __version__
from mrct_runtime.dicom.frames import instance_name
from mrct_runtime.digests import file_sha256, voxel_digests

if TYPE_CHECKING:
    from mrct_runtime.dicom.reading import Series
    from mrct_runtime.manifest import Manifest
    from mrct_runtime.outputs import Outputs
    from mrct_runtime.result import Result
    from mrct_runtime.sampling import Sampling
    from mrct_runtime.uncertainty import Uncertainty
    from mrct_runtime.warm_start import Started

RUN: Final = "run.json"
NOTICE: Final = (
    "Synthetic CT for research use only: not for diagnosis, planning or dose calculation."
)
_LIBRARIES: Final = ("numpy", "scipy", "pydicom", "highdicom", "nibabel", "onnxruntime")


def write_run(
    result: Result,
    folder: Path,
    command: Sequence[str],
    wanted: Outputs,
    findings: Mapping[str, Any],
) -> None:
    """Writes run.json beside the finished files of a folder, whose digests it lists; `findings` are the report's."""
    content = {**_content(result, command), **findings}
    if wanted.deidentify:
        content["finished"] = None
    content |= {"written": asdict(wanted), "outputs": _digests(folder)}
    content["sha256"] = digest_of_run(content)
    text = json.dumps(content, indent=2, allow_nan=False)
    (folder / RUN).write_text(text + "\n", "utf-8")


def digest_of_run(content: Mapping[str, Any]) -> str:
    """That of everything that run.json says, but for the digest itself."""
    said = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _content(result: Result, command: Sequence[str]) -> dict[str, Any]:
    sampling = result.sampling
    shape, spacing = result.mean_hu.grid.shape, result.mean_hu.grid.spacing_mm
    return {
        "run_id": str(uuid.uuid4()),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "notice": NOTICE,
        "command": list(command),
        "sampling": {
            **told_of_sampling(result.sampler, sampling, result.model.manifest, result.started),
            "batch": sampling.batch,
        },
        "settings": result.settings,
        "voxels": voxel_digests(result.mean_hu, result.std_hu),
        "uncertainty": told_of_uncertainty(result.uncertainty),
        "model": _model(result),
        "engine": asdict(result.backend),
        "input": {
            **input_digest(result.source),
            "slices": shape[0],
            "rows": shape[1],
            "columns": shape[2],
            "spacing_mm": [round(float(mm), 6) for mm in spacing],
        },
        "counters": asdict(result.counters) | {"not_finite": 0},
        "warnings": list(result.warnings),
        "seconds": {stage: round(taken, 3) for stage, taken in result.seconds.items()},
        "versions": versions(),
        "exit_code": 0,
    }


def told_of_sampling(
    sampler: str, sampling: Sampling, manifest: Manifest, started: Started | None
) -> dict[str, Any]:
    """How samples are drawn, as far as their values depend on it."""
    return {
        "sampler": sampler,
        "options": asdict(cast("Any", sampling.sampler)),
        "mc": sampling.mc,
        "stopping": _stopping(sampling, manifest),
        "branch_at": sampling.branch_at,
        "antithetic": sampling.antithetic,
        "seed": sampling.seed,
        "noise": "Philox4x32-10, Box-Muller",
        "prior_mean": sampling.prior_mean,
        "started": None if started is None else asdict(started),
    }


def _stopping(sampling: Sampling, manifest: Manifest) -> dict[str, Any] | None:
    """The fewest samples of a slice, and the standard error in HU at which they are enough; None of a fixed number."""
    stopping = sampling.stopping
    if stopping is None:
        return None
    tolerance_hu = stopping.tolerance * manifest.hu_window.width
    return {"least": stopping.least, "tolerance_hu": round(tolerance_hu, 6)}


def _model(result: Result) -> dict[str, Any]:
    manifest = result.model.manifest
    return {
        "name": manifest.name,
        "bundle_sha256": result.model.sha256,
        "files_sha256": dict(manifest.files),
        "process": manifest.process.model_dump(mode="json"),
        "training": manifest.training.model_dump(mode="json"),
        "notice": manifest.notice,
    }


def told_of_uncertainty(uncertainty: Uncertainty) -> dict[str, Any]:
    """Which deviation the result carries, and why."""
    fitted = uncertainty.recalibration
    return {
        "recalibrated": fitted is not None,
        "why": uncertainty.why,
        "recalibration": None if fitted is None else fitted.model_dump(mode="json"),
    }


def input_digest(source: Series) -> dict[str, str]:
    """sha256 of the volume, or over the sorted instance UIDs: tells whether two runs had the same input, and nothing else of it."""
    if not source.headers:
        return {"volume_sha256": source.uid}
    uids = sorted(instance_name(header) for header in source.headers)
    return {"sop_instance_uids_sha256": hashlib.sha256("\n".join(uids).encode()).hexdigest()}


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


def versions() -> dict[str, str]:
    """Those of mrct, Python and the libraries that a result depends on, where they are installed."""
    found = {"mrct": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        # the GPU wheel of ONNX Runtime has another name, and an analytic engine needs none
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
