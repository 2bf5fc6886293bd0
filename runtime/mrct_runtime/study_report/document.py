"""The page itself, and what run.json tells of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mrct_runtime import __version__
from mrct_runtime.dicom.reference import Reference
from mrct_runtime.evaluation.calibration import RULE
from mrct_runtime.evaluation.results import METRICS
from mrct_runtime.evaluation.tissue import AIR_BELOW_HU, BONE_ABOVE_HU, TISSUES, tissues
from mrct_runtime.html import render
from mrct_runtime.preview import BONE, SOFT_TISSUE
from mrct_runtime.report import NOTICE
from mrct_runtime.result import REPORT, Result
from mrct_runtime.scratch import slices
from mrct_runtime.study_report import charts
from mrct_runtime.study_report.checks import Check, Level, checks
from mrct_runtime.study_report.comparison import Comparison, compare
from mrct_runtime.study_report.pictures import Images, rows
from mrct_runtime.study_report.thinned import thinned
from mrct_runtime.study_report.verdict import Verdict, verdict

_TEMPLATE: Final = "study.html.jinja"
_DEFINITIONS: Final = {
    "mae_hu": "in the body, not clipped",
    "mae_air_hu": f"where the true CT is below {AIR_BELOW_HU:g} HU",
    "mae_soft_hu": "between",
    "mae_bone_hu": f"where the true CT is above {BONE_ABOVE_HU:g} HU",
    "psnr_2023": "in the body, clipped to -1024 to 3000 HU (SynthRAD2023)",
    "ssim_2023": "in the body, 7 x 7 x 7 windows (SynthRAD2023)",
}


@dataclass(frozen=True, eq=False)
class Findings:
    """What a report says of a result, without its pictures."""

    checks: tuple[Check, ...]
    verdict: Verdict
    comparison: Comparison | None

    @classmethod
    def of(cls, result: Result, reference: Reference | None) -> Findings:
        """Those of a result, held against the true CT where there is one."""
        comparison = None if reference is None else compare(result, reference)
        found = checks(result, comparison)
        return cls(found, verdict(found), comparison)

    def record(self) -> dict[str, Any]:
        """Verdict, checks and comparison as run.json has them."""
        return {
            "verdict": {
                "level": self.verdict.level.name.lower(),
                "headline": self.verdict.headline,
                "reasons": list(self.verdict.reasons),
                "checks": [
                    {
                        "name": c.name,
                        "found": c.found,
                        "rule": c.rule,
                        "level": c.level.name.lower(),
                    }
                    for c in self.checks
                ],
            },
            "reference": None if self.comparison is None else self.comparison.record(),
        }


def write_report(result: Result, reference: Reference | None, folder: Path) -> Findings:
    """Writes report.html into the folder, and returns what it says."""
    findings = Findings.of(result, reference)
    (folder / REPORT).write_text(page(result, findings), "utf-8")
    return findings


def page(result: Result, findings: Findings) -> str:
    """The page's text: nothing of the patient, not even the series' name, stands in it."""
    images = Images.of(result, findings.comparison)
    manifest = result.model.manifest
    return render(
        __package__,
        _TEMPLATE,
        {
            "verdict": findings.verdict,
            "checks": findings.checks,
            "Level": Level,
            "notice": NOTICE,
            "warnings": result.warnings,
            "rows": rows(result, images),
            "windows": (SOFT_TISSUE, BONE),
            "window": manifest.hu_window,
            "air_below": AIR_BELOW_HU,
            "bone_above": BONE_ABOVE_HU,
            "chart_width": charts.WIDTH,
            "axis": {"left": charts.LEFT, "right": charts.WIDTH - charts.RIGHT, "top": charts.TOP},
            **_charts(result, images, findings.comparison),
            "comparison": findings.comparison,
            "scores": _scores(findings.comparison),
            "rule": RULE,
            "facts": _facts(result),
        },
    )


def _charts(result: Result, images: Images, comparison: Comparison | None) -> Mapping[str, Any]:
    truth = None if comparison is None else _inside(comparison.truth, comparison.where)
    window = result.model.manifest.hu_window
    deviates = min(result.counters.samples) > 1 and any(
        std.any() for std in _inside(images.std, images.body)
    )
    return {
        "histogram": charts.histogram(_inside(images.mean, images.body), truth, window),
        "boxes": _boxes(images) if deviates else None,
        "worth": charts.worth(comparison.bins) if comparison and comparison.bins else None,
    }


def _inside(array: NDArray[Any], mask: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
    """The voxels in the mask, slice by slice."""
    for image, inside in zip(slices(array), slices(mask), strict=True):
        yield image[inside]


def _boxes(images: Images) -> charts.Boxes:
    def where(tissue: str) -> Iterator[NDArray[np.bool_]]:
        for mean, body in zip(slices(images.mean), slices(images.body), strict=True):
            yield body & tissues(mean)[tissue]

    found = {name: thinned(images.std, partial(where, name)) for name in TISSUES}
    return charts.boxes(found, sum(some.size for some in found.values()))


def _scores(comparison: Comparison | None) -> list[tuple[str, str, str]]:
    """Title, value and definition of each metric."""
    if comparison is None:
        return []
    found = []
    for name, value in comparison.metrics.items():
        metric = METRICS[name]
        shown = f"{value:.3f}" if not metric.unit else f"{value:.1f} {metric.unit}"
        found.append((metric.title, shown, _DEFINITIONS[name]))
    return found


def _facts(result: Result) -> list[tuple[str, str]]:
    """How the image was made, in pairs of a name and a value."""
    manifest, sampling, counters = result.model.manifest, result.sampling, result.counters
    fewest, most = min(counters.samples), max(counters.samples)
    options = ", ".join(f"{k} {v}" for k, v in vars(sampling.sampler).items() if v is not None)
    backend = result.backend
    grid, image = result.mean_hu.grid, manifest.image
    domain = manifest.domain
    facts = [
        ("model", f"{manifest.name} ({manifest.training.method}), licence {manifest.licence}"),
        ("made for", f"{domain.modality}, {domain.sequence}, {domain.anatomy}"),
        ("trained on", manifest.training.data),
        ("bundle sha256", result.model.sha256),
        ("sampler", f"{result.sampler} ({options})"),
        ("samples a slice", f"{fewest}" if fewest == most else f"{fewest} to {most}"),
        ("seed", f"{sampling.seed}"),
        ("network evaluations", f"{counters.evaluations}"),
        ("uncertainty", f"{_recalibrated(result)}"),
        ("time", f"{sum(result.seconds.values()):.1f} s"),
        ("computed by", f"{backend.engine} on {backend.device}, {backend.precision}"),
        ("grid", f"{grid}, that of the MR"),
        ("model grid", f"{image.size} x {image.size} pixels of {image.spacing_mm:g} mm"),
        ("mrct", __version__),
    ]
    if result.started is not None:
        facts.insert(5, ("started from", f"{result.started}"))
    return facts


def _recalibrated(result: Result) -> str:
    fitted = result.uncertainty.recalibration
    if fitted is None:
        return f"standard deviation as sampled: {result.uncertainty.why}"
    return f"standard deviation recalibrated on {fitted.subjects} subjects ({fitted.data})"
