"""A run again by what its run.json says: the same network, input and settings, which must give the same voxels."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from mrct_runtime.digests import voxel_digests
from mrct_runtime.engines.target import Target
from mrct_runtime.errors import BundleError, InputRejectedError, NumericError, UsageError
from mrct_runtime.report import input_digest, versions
from mrct_runtime.verification import load_run

if TYPE_CHECKING:
    from mrct_runtime.bundle import Bundle
    from mrct_runtime.dicom.reading import Series
    from mrct_runtime.result import Result
    from mrct_runtime.settings import Settings
    from mrct_runtime.warm_start import WarmStart


class _Part(BaseModel):
    """What a replay looks at in a part of run.json, in exactly these types."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class _WarmStart(_Part):
    bundle_sha256: str
    sigma: float | None


class _Settings(_Part):
    """The fields of `Settings`; another one is of a version that this one cannot repeat."""

    model_config = ConfigDict(extra="forbid")

    sampler: str
    mc: int | tuple[int, int] | None
    seed: int
    batch: int | None
    options: dict[str, bool | int | float | str | None]
    recipe: str | None
    target: Target
    raw_uncertainty: bool
    warm_start: _WarmStart | None
    mc_tolerance_hu: float | None
    branch_at: float | None
    antithetic: bool


class _Model(_Part):
    name: str
    bundle_sha256: str


class _Voxels(_Part):
    mean_hu: str
    std_hu: str


class _Written(_Part):
    deidentify: bool


class _Run(_Part):
    settings: _Settings
    voxels: _Voxels
    input: dict[str, Any]
    model: _Model
    written: _Written
    versions: dict[str, Any]
    engine: dict[str, Any]


@dataclass(frozen=True)
class Replay:
    """What a run.json says of its run."""

    run: _Run

    @classmethod
    def of(cls, path: Path) -> Self:
        """That of the file, or of the folder that holds it; NoInputError and InputRejectedError as of `load_run`."""
        told = load_run(
            path if path.is_dir() else path.parent, None if path.is_dir() else path.name
        )
        try:
            return cls(_Run.model_validate_json(json.dumps(told)))
        except (ValidationError, UsageError) as error:
            raise InputRejectedError(
                f"run.json is of a version that did not write down all that a replay needs{_lacking(error)}; "
                "run by its command instead"
            ) from error

    @property
    def model(self) -> str:
        """The name of the run's bundle."""
        return self.run.model.name

    def settings(self, warm_start: WarmStart | None) -> Settings:
        """Those of the run; UsageError where it had another warm start than the one that is given."""
        from mrct_runtime.settings import Settings

        said = self.run.settings
        self._check_warm_start(said.warm_start, warm_start)
        told = {name: getattr(said, name) for name in _Settings.model_fields}
        return Settings(**told | {"warm_start": warm_start})

    def check_bundle(self, bundle: Bundle) -> None:
        """BundleError where it is not the run's."""
        wanted = self.run.model.bundle_sha256
        if bundle.sha256 != wanted:
            raise BundleError(
                f"the run had the bundle {self.run.model.name} (sha256 {wanted[:12]}), {bundle.manifest.name} is "
                f"{bundle.sha256[:12]}: give that one by --bundle"
            )

    def check_input(self, source: Series) -> None:
        """InputRejectedError where the MR is not the run's; of a deidentified run nobody can tell."""
        if self.run.written.deidentify:
            return
        if any(self.run.input.get(key) != value for key, value in input_digest(source).items()):
            raise InputRejectedError("the MR is not the one of the run: its images have other UIDs")

    def check_voxels(self, result: Result) -> None:
        """NumericError where the voxels are not those of the run, with what else differs."""
        found = voxel_digests(result.mean_hu, result.std_hu)
        other = [name for name, digest in found.items() if digest != getattr(self.run.voxels, name)]
        if not other:
            return
        then = {**self.run.versions, **self.run.engine}
        now = {**versions(), **asdict(result.backend)}
        apart = [
            f"{key} {then.get(key)}, now {now[key]}" for key in now if then.get(key) != now[key]
        ]
        why = (
            "; ".join(apart)
            or "versions and backend are the same, so another processor or GPU may be the cause"
        )
        raise NumericError(
            f"{' and '.join(other)} are not those of the run ({why}); nothing was written"
        )

    @staticmethod
    def _check_warm_start(told: _WarmStart | None, given: WarmStart | None) -> None:
        had = None if told is None else (told.bundle_sha256, told.sigma)
        has = None if given is None else (given.bundle.sha256, given.sigma)
        if had != has:
            start = (
                "none"
                if had is None
                else f"the bundle of sha256 {had[0][:12]}, warm-sigma {had[1]}"
            )
            raise UsageError(
                f"the run had another warm start ({start}); give --warm-start and --warm-sigma as it had"
            )


def _lacking(error: Exception) -> str:
    """The place that is not as it should be, in brackets."""
    if not isinstance(error, ValidationError):
        return f" ({error})"
    place = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
    return f" ({'.'.join(str(part) for part in place)})"
