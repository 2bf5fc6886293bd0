"""A run again by what its run.json says: the same network, input and settings, which must give the same voxels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

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


@dataclass(frozen=True)
class Replay:
    """What a run.json says of its run."""

    run: Mapping[str, Any]

    @classmethod
    def of(cls, path: Path) -> Self:
        """That of the file, or of the folder that holds it; NoInputError and InputRejectedError as of `load_run`."""
        run = load_run(path if path.is_dir() else path.parent, None if path.is_dir() else path.name)
        if not {"settings", "voxels", "input", "model"} <= run.keys():
            raise InputRejectedError(
                "run.json is of a version that did not write down all that a replay needs; run by its command instead"
            )
        return cls(run)

    def settings(self, warm_start: WarmStart | None) -> Settings:
        """Those of the run; UsageError where it had another warm start than the one that is given."""
        from mrct_runtime.settings import Settings

        told = dict(self.run["settings"])
        self._check_warm_start(told.pop("warm_start"), warm_start)
        mc = told.pop("mc")
        return Settings(
            **told
            | {
                "mc": tuple(mc) if isinstance(mc, list) else mc,
                "target": Target(**told["target"]),
                "warm_start": warm_start,
            }
        )

    def check_bundle(self, bundle: Bundle) -> None:
        """BundleError where it is not the run's."""
        wanted = self.run["model"]["bundle_sha256"]
        if bundle.sha256 != wanted:
            raise BundleError(
                f"the run had the bundle {self.run['model']['name']} (sha256 {wanted[:12]}), {bundle.manifest.name} is "
                f"{bundle.sha256[:12]}: give that one by --bundle"
            )

    def check_input(self, source: Series) -> None:
        """InputRejectedError where the MR is not the run's; of a deidentified run nobody can tell."""
        if self.run["written"]["deidentify"]:
            return
        if any(self.run["input"].get(key) != value for key, value in input_digest(source).items()):
            raise InputRejectedError("the MR is not the one of the run: its images have other UIDs")

    def check_voxels(self, result: Result) -> None:
        """NumericError where the voxels are not those of the run, with what else differs."""
        found = voxel_digests(result.mean_hu, result.std_hu)
        other = [name for name, digest in found.items() if digest != self.run["voxels"][name]]
        if not other:
            return
        then = {**self.run["versions"], **self.run["engine"]}
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
    def _check_warm_start(told: Mapping[str, Any] | None, given: WarmStart | None) -> None:
        had = None if told is None else (told["bundle_sha256"], told["sigma"])
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
