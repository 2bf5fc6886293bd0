"""Whether the deviation of the demonstration bundles' samples is worth anything, before and after recalibration.

The phantoms stand beyond those of the data set that the bundles were trained on. A recalibration is fitted on some of
them, each with the one CT that a patient has, and judged on others, whose CT is drawn many times: the HU of every
tissue, which the MR does not show, and the noise. Coverages are shares of body voxels, averaged over subjects.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import parser, report
from numpy.typing import NDArray

from mrct_runtime.bundle import Bundle
from mrct_runtime.demonstration import demonstration_bundle
from mrct_runtime.engines import Engine
from mrct_runtime.engines.target import Target
from mrct_runtime.evaluation.calibration import (
    LEVELS,
    Calibration,
    Voxels,
    calibration,
    name_of,
    recalibrated,
)
from mrct_runtime.evaluation.cases import Case, Selection, load_case
from mrct_runtime.evaluation.contestants import Contestant, contestants
from mrct_runtime.evaluation.drawn import draw
from mrct_runtime.evaluation.fitting import fit, fit_scale
from mrct_runtime.evaluation.recalibration import WHOLE, Recalibration
from mrct_runtime.evaluation.voxels import body_voxels
from mrct_runtime.paired import Pair, Preparation, Subject
from mrct_runtime.settings import Settings
from mrct_runtime.synthesis import Moments
from mrct_runtime.volume import Grid, Volume
from mrct_train.phantom import GridSpec, generate_subject

SEED, TRAINED = 0, 60
GRID = GridSpec(size=96, spacing=4.5, slices=32, slice_spacing=6.0, slice_thickness=6.0)
"""Seed, subjects and grid of the data set of the recipes (examples/recipes)."""

SAMPLERS = "em,pc,ode,ddpm"
MC = 10


class Ways(NamedTuple):
    """The recalibrations that are compared."""

    factor: Recalibration
    factor_and_floor: Recalibration
    factor_by_tissue: Recalibration
    stored: Recalibration
    """Factor and floor by tissue, what mrct calibrate stores."""


def phantom(number: int, ct_draw: int = 0) -> Subject:
    """A phantom as a subject of a data set."""

    def read() -> tuple[Pair, ...]:
        made = generate_subject(SEED, number, GRID, ct_draw=ct_draw)
        grid = Grid(made.affine, made.mr.shape)
        mr, ct = (Volume(array.astype(np.float32), grid) for array in (made.mr, made.ct))
        return (Pair(mr, ct),)

    return Subject(f"phantom-{number}", (), read)


def moments(contestant: Contestant, engine: Engine, case: Case, keep: Path | None) -> Moments:
    """Those of the case's slices, from `keep` where they are."""
    file = None if keep is None else keep / f"{contestant.settings.sampler}-{case.name}.npz"
    if file is not None and file.is_file():
        kept = np.load(file, allow_pickle=False)
        return Moments(kept["mean"], kept["std"], kept["counts"], int(kept["evaluations"]), MC)
    found = draw(contestant, engine, case).moments[0]
    if file is not None:
        np.savez(
            file,
            allow_pickle=False,
            mean=found.mean,
            std=found.std,
            counts=found.counts,
            evaluations=found.evaluations,
        )
    return found


def ways(subjects: Sequence[Voxels], contestant: Contestant, slices: int) -> Ways:
    """Each kind of recalibration fitted to the same subjects."""
    stored = fit(subjects, contestant.options, contestant.mc, data="phantoms", slices=slices)
    together, n = Voxels.together(subjects), contestant.mc
    parts = together.by_tissue()
    no_floor = (0.0,)

    def only(**scales: Any) -> Recalibration:
        return stored.model_copy(update={"scales": scales})

    return Ways(
        only(**{WHOLE: fit_scale(together, n, no_floor)}),
        only(**{WHOLE: fit_scale(together, n)}),
        only(**{name: fit_scale(parts[name], n, no_floor) for name in stored.scales}),
        stored,
    )


def summary(found: Calibration) -> dict[str, Any]:
    """Tissue -> coverages with their intervals over subjects, ENCE and the rest, rounded."""
    rows = {}
    for tissue, each in found.tissues.items():
        rows[tissue] = {
            "voxels": each.voxels,
            "coverage": {
                p: [None if end is None else round(end, 3) for end in interval]
                for p, interval in each.coverage.items()
            },
            "ence": None if each.ence is None else round(each.ence, 3),
            "spearman": None if each.correlation is None else round(each.correlation, 3),
            "mean_std_hu": round(each.mean_std_hu, 1),
            "mae_hu": round(each.mae_hu, 1),
            "rmse_hu": round(each.rmse_hu, 1),
        }
    return {"furthest_from_nominal": round(found.worst, 3), "tissues": rows}


def between_draws(subjects: Sequence[Sequence[Voxels]], n: int) -> dict[str, list[float]]:
    """Nominal -> the lowest and the highest coverage of the whole set of subjects over the draws of their CTs."""
    found = [calibration(each, n).tissues[WHOLE].coverage for each in zip(*subjects, strict=True)]
    return {
        name: [round(end([each[name].value for each in found]), 3) for end in (min, max)]
        for name in map(name_of, LEVELS)
    }


class Study:
    """Cases of the phantoms, and the CTs of those that are judged by."""

    def __init__(self, preparation: Preparation, arguments: Any) -> None:
        selection = Selection(slices=arguments.slices)
        self.keep: Path | None = arguments.keep
        first = TRAINED + 1
        numbers = range(first, first + arguments.validation + arguments.test)
        cases = [load_case(phantom(number), preparation, selection) for number in numbers]
        self.validation, self.test = cases[: arguments.validation], cases[arguments.validation :]
        self.truths: list[list[NDArray[Any]]] = []
        for number in numbers[arguments.validation :]:
            drawn = (phantom(number, k) for k in range(1, arguments.draws + 1))
            self.truths.append(
                [load_case(each, preparation, selection).parts[0].ct for each in drawn]
            )

    def row(self, contestant: Contestant, engine: Engine) -> dict[str, Any]:
        """What a sampler's deviation is worth, raw and after each way of recalibration."""
        window, n = contestant.bundle.window, contestant.mc
        fitted_on = [
            body_voxels(case, [moments(contestant, engine, case, self.keep)], window)
            for case in self.validation
        ]
        judged = [
            self._draws(case, truths, moments(contestant, engine, case, self.keep), contestant)
            for case, truths in zip(self.test, self.truths, strict=True)
        ]
        subjects = [Voxels.together(draws) for draws in judged]
        found = ways(fitted_on, contestant, sum(case.slices for case in self.validation))
        after = {
            name: [recalibrated(subject, way) for subject in subjects]
            for name, way in found._asdict().items()
        }
        stored = [[recalibrated(each, found.stored) for each in draws] for draws in judged]
        return {
            "sampler": contestant.settings.sampler,
            "options": contestant.options,
            "raw": summary(calibration(subjects, n)),
            "recalibrated": {
                name: {
                    "scales": {t: scale.model_dump() for t, scale in way.scales.items()},
                    **summary(calibration(after[name], n)),
                }
                for name, way in found._asdict().items()
            },
            "lowest_and_highest_draw_after": between_draws(stored, n),
        }

    def _draws(
        self, case: Case, truths: list[NDArray[Any]], found: Moments, contestant: Contestant
    ) -> list[Voxels]:
        """The voxels of a case under each of its CTs."""
        cases = (replace(case, parts=(replace(case.parts[0], ct=ct),)) for ct in truths)
        return [body_voxels(each, [found], contestant.bundle.window) for each in cases]


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--samplers", default=SAMPLERS)
    made.add_argument("--validation", type=int, default=3, help="subjects to fit on")
    made.add_argument("--test", type=int, default=3, help="subjects to judge by")
    made.add_argument("--slices", type=int, default=2, help="slices of a subject")
    made.add_argument("--draws", type=int, default=10, help="CTs of a test subject")
    made.add_argument("--threads", type=int, help="threads of the network")
    made.add_argument("--keep", type=Path, help="a folder that keeps what was sampled")
    arguments = made.parse_args()
    rows: list[dict[str, Any]] = []
    studies: dict[Preparation, Study] = {}
    for name in arguments.samplers.split(","):
        bundle = Bundle.load(demonstration_bundle(name))
        settings = Settings(mc=MC, target=Target("cpu", threads=arguments.threads))
        (contestant,) = contestants([bundle], [name], settings)
        prepared = contestant.preparation
        if prepared not in studies:
            studies[prepared] = Study(prepared, arguments)
        with closing(bundle.open_engine(settings.target)) as engine:
            rows.append(studies[prepared].row(contestant, engine))
        print(name, "raw", rows[-1]["raw"], flush=True)
        print(name, "recalibrated", rows[-1]["recalibrated"]["stored"], flush=True)
    counts = {key: getattr(arguments, key) for key in ("validation", "test", "slices", "draws")}
    report({"mc": MC, "grid": asdict(GRID), **counts, "rows": rows}, arguments.json)


if __name__ == "__main__":
    main()
