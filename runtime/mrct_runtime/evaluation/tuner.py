"""A tuning from a bundle and a data set: every setting of every sampler on the same slices and the same noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mrct_runtime.bundle import Bundle
from mrct_runtime.engines import Engine
from mrct_runtime.errors import NoInputError, NumericError, UsageError
from mrct_runtime.evaluation.advance import Show, Work
from mrct_runtime.evaluation.cases import Case, load_case
from mrct_runtime.evaluation.conditions import conditions
from mrct_runtime.evaluation.contestants import Contestant
from mrct_runtime.evaluation.drawn import Drawn, draw
from mrct_runtime.evaluation.kept import InUnits, Journals, Keeper, Keepless, Unit, key_of
from mrct_runtime.evaluation.ladders import Ladder
from mrct_runtime.evaluation.runner import Plan, data_of
from mrct_runtime.evaluation.scoring import mean_std_hu
from mrct_runtime.evaluation.survey import survey
from mrct_runtime.evaluation.tuning import Curve, Point, Tolerance, Tuning, curve
from mrct_runtime.synthesis import Progress


class _Scored(NamedTuple):
    """One subject at one setting."""

    evaluations: float
    mae_hu: float
    ssim: float
    mean_std_hu: float
    seconds_a_slice: float


class Tuner(InUnits):
    """A tuning that is ready to run: what could end it early is found here, before the first sample.

    `plan` has the samples a slice, their seed, where the network runs, and the subjects.
    """

    def __init__(self, bundle: Bundle, folder: Path, plan: Plan, ladders: Sequence[Ladder]) -> None:
        self.plan = plan
        self._bundle, self._folder, self._ladders = bundle, folder, tuple(ladders)
        self.contestants = tuple(
            self._contestant(ladder.sampler, options)
            for ladder in ladders
            for options in (ladder.reference, *ladder.rungs)
        )
        self.mc = self.contestants[0].mc
        if self.mc < 2:
            raise UsageError(f"mc {self.mc} leaves no deviation to compare; take at least 2")
        self.subjects = plan.selection.find(folder)
        self.survey = survey(self.subjects, self.contestants, plan.selection)

    def run(
        self, tolerance: Tolerance, show: Show = lambda _: None, keeper: Keeper | None = None
    ) -> Tuning:
        """The curve of every sampler, each with its choice."""
        scored: dict[str, list[_Scored]] = {each.label: [] for each in self.contestants}
        with closing(self._bundle.open_engine(self.plan.settings.target)) as engine:
            for label, found in self._scored(engine, show, keeper or Keepless()):
                if found is None:
                    scored.pop(label, None)
                elif label in scored:
                    scored[label].append(found)
        return Tuning(
            bundle=self._bundle.manifest.name,
            bundle_sha256=self._bundle.sha256,
            tolerance=tolerance,
            conditions=conditions(self.plan, self.mc),
            data=data_of(self._folder, self.plan, self.survey, {}),
            curves=tuple(self._curve(ladder, scored, tolerance) for ladder in self._ladders),
        )

    def _contestant(self, sampler: str, options: Mapping[str, Any]) -> Contestant:
        settings = replace(self.plan.settings, sampler=sampler, options=options)
        return Contestant(_label(sampler, options), self._bundle, settings)

    def _scored(
        self, engine: Engine, show: Show, keeper: Keeper
    ) -> Iterator[tuple[str, _Scored | None]]:
        """Every setting's label with a subject's scores, None where it ended with a number that is none."""
        work = Work(self.contestants, self.survey.slices, show)
        for subject in self.subjects:
            case = load_case(subject, self.contestants[0].preparation, self.plan.selection)
            for each in self.contestants:
                key = key_of("curve", each, engine, case, self.plan.ruler)
                watch = work.watch(case.name, each)
                unit = keeper.unit(key, partial(self._made, each, engine, case, watch))
                found = unit.facts["scores"]
                yield each.label, None if found is None else _Scored(*found)
                work.finish(case.name, each)

    def _made(
        self,
        contestant: Contestant,
        engine: Engine,
        case: Case,
        watch: Callable[[Progress], None],
        journals: Journals,
    ) -> Unit:
        """A subject's scores, None for those of a setting whose numbers are none."""
        try:
            drawn = draw(contestant, engine, case, watch, journals)
        except NumericError:
            if contestant.label in {_label(each.sampler, each.reference) for each in self._ladders}:
                raise
            return Unit({"scores": None})
        return Unit({"scores": self._score(case, drawn)})

    def _score(self, case: Case, drawn: Drawn) -> _Scored:
        window = self._bundle.window
        scores = self.plan.ruler.scores(case, drawn.means, window)
        deviation = mean_std_hu(case, drawn.moments, window)
        if deviation is None:
            raise NoInputError(f"{case.name}: no voxel lies in the body; take more --slices")
        return _Scored(
            drawn.evaluations / (case.slices * drawn.n),
            scores["mae_hu"],
            scores["paper_ssim"],
            deviation,
            drawn.seconds / case.slices,
        )

    def _curve(
        self, ladder: Ladder, scored: dict[str, list[_Scored]], tolerance: Tolerance
    ) -> Curve:
        labels = {_label(ladder.sampler, options): options for options in ladder.rungs}
        points = tuple(
            self._point(ladder.sampler, options, scored[label])
            for label, options in labels.items()
            if label in scored
        )
        long_run = scored[_label(ladder.sampler, ladder.reference)]
        return curve(
            ladder.sampler,
            self._point(ladder.sampler, ladder.reference, long_run),
            points,
            tuple(label for label in labels if label not in scored),
            tolerance,
        )

    def _point(
        self, sampler: str, options: Mapping[str, Any], subjects: Sequence[_Scored]
    ) -> Point:
        complete = self._bundle.preset(sampler) | dict(options)
        return Point(complete, *np.mean(subjects, axis=0).tolist())


def _label(sampler: str, options: Mapping[str, Any]) -> str:
    return f"{sampler}, " + ", ".join(f"{name} {value:g}" for name, value in options.items())
