"""A finished synthetic CT: its images in HU, where they come from, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrct_runtime import __version__
from mrct_runtime.departures import Given
from mrct_runtime.dicom.derived import SYNTHETIC, UNCERTAINTY, Derivation
from mrct_runtime.dicom.parametric_map import write_parametric_map
from mrct_runtime.dicom.reading import Series
from mrct_runtime.dicom.reference import Reference, read_reference
from mrct_runtime.dicom.writing import write_ct_series
from mrct_runtime.engines import Backend
from mrct_runtime.errors import NumericError
from mrct_runtime.manifest import Manifest
from mrct_runtime.output_folder import OutputFolder, not_writable
from mrct_runtime.outputs import Outputs, write_besides
from mrct_runtime.preview import write_montage, write_slice
from mrct_runtime.report import RUN, write_run
from mrct_runtime.scratch import IN_MEMORY, Scratch, slices
from mrct_runtime.synthesis import Sampling
from mrct_runtime.uncertainty import Uncertainty
from mrct_runtime.volume import Volume
from mrct_runtime.volume_files import WRITERS
from mrct_runtime.warm_start import Started

CT_FOLDER = "sct"
STD_MAP = "std.dcm"
MEAN, STD = "sct", "sct_std"
PREVIEW, MONTAGE = "preview.png", "preview_slices.png"
REPORT = "report.html"


@dataclass(frozen=True)
class Counters:
    """What happened while sampling, inside the body; voxels on the model grid.

    `batch` is the most images that the network was given at once. `samples` has those of each slice, `standard_error_hu`
    that of each slice's mean, averaged over its body (None of one sample, and of samples that are not independent).
    """

    evaluations: int
    batch: int
    body_voxels: int
    below_window: int
    above_window: int
    samples: tuple[int, ...]
    standard_error_hu: tuple[float, ...] | None

    @property
    def outside(self) -> float:
        """The fraction of the body whose mean lay outside the HU window before it was clamped."""
        return (self.below_window + self.above_window) / max(self.body_voxels, 1)


@dataclass(frozen=True)
class Model:
    """The bundle that made a result; `sha256` is that of its manifest, which holds those of its files."""

    manifest: Manifest
    sha256: str


@dataclass(frozen=True, eq=False)
class Result:
    """Mean and standard deviation in HU on the MR's own grid, and all that made them."""

    source: Series
    given: Given
    mean_hu: Volume
    std_hu: Volume
    model: Model
    backend: Backend
    sampler: str
    sampling: Sampling
    uncertainty: Uncertainty
    counters: Counters
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]
    started: Started | None = None
    """Where samples started, None for pure noise."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What was asked for, as run.json has it."""

    def __post_init__(self) -> None:
        for name, volume in (("mean", self.mean_hu), ("standard deviation", self.std_hu)):
            # a NaN would become 0 HU, a plausible water image, when it is rounded to int16
            if not all(np.isfinite(image).all() for image in slices(volume.array)):
                raise NumericError(
                    f"the {name} has values that are not finite; nothing was written"
                )

    def save(
        self,
        out: Path | str,
        *,
        overwrite: bool = False,
        outputs: Outputs | None = None,
        reference: Path | str | None = None,
    ) -> Path:
        """The folder `out`, holding the CT series, the map, NIfTI, pictures, report and run.json; all of them or nothing.

        `reference` is a folder or a volume's file with the true CT, which the report then compares.
        """
        wanted = outputs or Outputs()
        truth = None if reference is None else read_reference(reference, self.source)
        with claim(Path(out), overwrite=overwrite) as folder:
            grid = self.mean_hu.grid
            folder.require(wanted.bytes_needed(grid) + wanted.bytes_meanwhile(grid, folder.scratch))
            self.doubting(truth).write(folder, outputs=wanted, reference=truth)
            return folder.commit()

    def doubting(self, reference: Reference | None) -> Result:
        """The result, warned of what speaks against a true CT that is to be compared with it."""
        doubts = () if reference is None else reference.doubts
        return replace(self, warnings=(*self.warnings, *doubts))

    def write(
        self,
        folder: OutputFolder,
        command: Sequence[str] = (),
        outputs: Outputs | None = None,
        reference: Reference | None = None,
    ) -> None:
        """Every file into a claimed folder; run.json last, with the digests of the others and the command."""
        # the report knows results, and jinja2 takes its time to import
        from mrct_runtime.study_report import write_report

        wanted = outputs or Outputs()
        wanted.check(self.source)
        named = wanted.nameless(self)
        try:
            named.write_images(folder.partial, wanted, folder.scratch)
            findings = write_report(named, reference, folder.partial)
            write_run(named, folder.partial, command, wanted, findings.record())
        except OSError as error:
            raise not_writable(folder.target, error) from error

    def write_images(self, folder: Path, outputs: Outputs, scratch: Scratch = IN_MEMORY) -> None:
        """Every file but the report and run.json, into a folder that has none of them."""
        shown = outputs.of(self, scratch)
        if shown.source.headers:
            shown.write_dicom(folder, outputs, scratch)
        ending = shown.source.volumes
        WRITERS[ending](shown.mean_hu, folder / f"{MEAN}{ending}", SYNTHETIC)
        WRITERS[ending](shown.std_hu, folder / f"{STD}{ending}", UNCERTAINTY)
        mean, std = shown.mean_hu.canonical(scratch), shown.std_hu.canonical(scratch)
        write_slice(shown.source.volume.canonical(scratch), mean, std, folder / PREVIEW)
        write_montage(mean, std, folder / MONTAGE)

    def write_dicom(self, folder: Path, outputs: Outputs, scratch: Scratch = IN_MEMORY) -> None:
        """The CT series, the map, and what else is asked for of DICOM."""
        derivation = self._derivation(outputs)
        place = folder / CT_FOLDER
        place.mkdir()
        ct = write_ct_series(self.mean_hu, self.source, place, derivation, kvp=outputs.kvp)
        write_parametric_map(self.std_hu, self.source, folder / STD_MAP, derivation)
        write_besides(self, ct, outputs, folder, derivation, scratch)

    def _derivation(self, outputs: Outputs) -> Derivation:
        training = self.model.manifest.training
        text = f"Model trained on: {training.data}. {self.sampling.sampler!r}."
        if self.started is not None:
            text += f" Started from {self.started}."
        if fitted := self.uncertainty.recalibration:
            text += f" Deviation recalibrated on {fitted.subjects} subjects: {fitted.data}."
        made = Derivation(
            software_version=__version__,
            bundle=self.model.manifest.name,
            bundle_sha256=self.model.sha256,
            sampler=self.sampler,
            mc=(min(self.counters.samples), max(self.counters.samples)),
            seed=self.sampling.seed,
            text=text,
            recalibrated=self.uncertainty.recalibration is not None,
            spacing_mm=outputs.spacing,
        )
        return replace(made, made_at=None) if outputs.deidentify else made


def claim(out: Path, *, overwrite: bool = False) -> OutputFolder:
    """The folder for a result; only an earlier result is ever overwritten."""
    return OutputFolder.claim(out, replaces=RUN if overwrite else None, resumable=True)
