"""An evaluation from bundles and a data set to scores: subject by subject, every contestant on the same slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mrct_runtime.bundle import Bundle
from mrct_runtime.engines import Engine
from mrct_runtime.evaluation.advance import Show, Work
from mrct_runtime.evaluation.bootstrap import Bootstrap
from mrct_runtime.evaluation.cases import Case, Selection, load_case
from mrct_runtime.evaluation.conditions import conditions
from mrct_runtime.evaluation.contestants import Contestant, contestants
from mrct_runtime.evaluation.drawn import Drawn, draw
from mrct_runtime.evaluation.groups import group_of, members, overall
from mrct_runtime.evaluation.kept import InUnits, Journals, Keeper, Keepless, Unit, key_of
from mrct_runtime.evaluation.pictured import pictures
from mrct_runtime.evaluation.results import Data, Evaluation, Pictures, Run, SubjectScores
from mrct_runtime.evaluation.scored import Scored, pictures_of, scored_of, unit_of
from mrct_runtime.evaluation.scoring import Ruler, average, mean_std_hu
from mrct_runtime.evaluation.survey import Survey, survey
from mrct_runtime.evaluation.voxels import body_voxels, recalibration_of, worth
from mrct_runtime.settings import Settings
from mrct_runtime.synthesis import Progress

MOST_PICTURED = 2
"""Subjects that are shown in figures."""


@dataclass(frozen=True)
class Plan:
    """What is evaluated and how: everything but the bundles and the data.

    `samplers` of None are all for which a bundle has a preset; `groups` are label -> pattern of subjects' names.
    """

    samplers: tuple[str, ...] | None = None
    settings: Settings = field(default_factory=Settings)
    selection: Selection = field(default_factory=Selection)
    groups: Mapping[str, str] = field(default_factory=dict)
    ruler: Ruler = field(default_factory=Ruler)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    allow_training_subjects: bool = False
    command: tuple[str, ...] = ()


class Asked(NamedTuple):
    """What is asked of a case by a contestant: its name, how it is made of what was drawn, and what else it depends on."""

    what: str
    made: Callable[[Contestant, Engine, Case, Drawn], Unit]
    besides: Callable[[Case], tuple[object, ...]] = lambda _: ()

    def make(
        self,
        contestant: Contestant,
        engine: Engine,
        case: Case,
        watch: Callable[[Progress], None],
        journals: Journals,
    ) -> Unit:
        """What is asked, of samples that are drawn now or lie in the journals."""
        return self.made(contestant, engine, case, draw(contestant, engine, case, watch, journals))


class Evaluator(InUnits):
    """An evaluation that is ready to run: what could end it early is found here, before the first sample."""

    def __init__(self, bundles: Sequence[Bundle], folder: Path, plan: Plan) -> None:
        self.plan = plan
        self.contestants = contestants(bundles, plan.samplers, plan.settings)
        self.subjects = plan.selection.find(folder)
        self.survey = survey(
            self.subjects,
            self.contestants,
            plan.selection,
            allow_training_subjects=plan.allow_training_subjects,
        )
        self.groups = members([subject.name for subject in self.subjects], plan.groups)
        self._folder = folder

    def run(
        self, show: Show = lambda _: None, keeper: Keeper | None = None
    ) -> tuple[Evaluation, tuple[Pictures, ...]]:
        """The scores, and pictures of one slice of a subject or two."""
        scored: dict[str, list[Scored]] = {each.label: [] for each in self.contestants}
        shown: list[Pictures] = []
        asked = Asked("scores", self._made, self._besides)
        for contestant, case, unit in self.each(asked, show, keeper):
            group = group_of(case.name, self.plan.groups)
            scored[contestant.label].append(scored_of(unit, case.name, group))
            if case.name in self._pictured():
                shown.append(pictures_of(unit))
        runs = tuple(self._run(each, scored[each.label]) for each in self.contestants)
        measured = conditions(self.plan, max(each.mc for each in self.contestants))
        found = data_of(self._folder, self.plan, self.survey, self.groups)
        return Evaluation(measured, found, runs), tuple(shown)

    def each(
        self, asked: Asked, show: Show = lambda _: None, keeper: Keeper | None = None
    ) -> Iterator[tuple[Contestant, Case, Unit]]:
        """What is asked of every case by every contestant; one subject is in memory at a time."""
        keeper = keeper or Keepless()
        work = Work(self.contestants, self.survey.slices, show)
        with ExitStack() as stack:
            engines = self._open(stack)
            for contestant, case in self._cases():
                engine = engines[contestant.bundle.sha256]
                watch = work.watch(case.name, contestant)
                key = key_of(asked.what, contestant, engine, case, *asked.besides(case))
                make = partial(asked.make, contestant, engine, case, watch)
                yield contestant, case, keeper.unit(key, make)
                work.finish(case.name, contestant)

    def _open(self, stack: ExitStack) -> dict[str, Engine]:
        """Bundle's digest -> its network; closed with the stack."""
        target = self.plan.settings.target
        bundles = {each.bundle.sha256: each.bundle for each in self.contestants}
        return {
            digest: stack.enter_context(closing(bundle.open_engine(target)))
            for digest, bundle in bundles.items()
        }

    def _cases(self) -> Iterator[tuple[Contestant, Case]]:
        for subject in self.subjects:
            for preparation in dict.fromkeys(each.preparation for each in self.contestants):
                case = load_case(subject, preparation, self.plan.selection)
                for each in self.contestants:
                    if each.preparation == preparation:
                        yield each, case

    def _besides(self, case: Case) -> tuple[object, ...]:
        """What scores depend on besides images: how they are taken, and whether pictures are kept with them."""
        return self.plan.ruler, case.name in self._pictured()

    def _made(self, contestant: Contestant, engine: Engine, case: Case, drawn: Drawn) -> Unit:
        """The scores, the voxels of several samples, and pictures where they are shown."""
        window = contestant.bundle.window
        voxels = body_voxels(case, drawn.moments, window) if drawn.n > 1 else None
        scored = Scored(self._scores(contestant, case, drawn), drawn.evaluations, voxels)
        seen = case.name in self._pictured()
        return unit_of(scored, pictures(contestant, engine, case, drawn) if seen else None)

    def _scores(self, contestant: Contestant, case: Case, drawn: Drawn) -> SubjectScores:
        window, ruler = contestant.bundle.window, self.plan.ruler
        single = mean = ruler.scores(case, drawn.means, window)
        deviation = paper_std = None
        if drawn.n > 1:
            samples = (drawn.sample(k) for k in range(drawn.n))
            single = average([ruler.scores(case, images, window) for images in samples])
            deviation = mean_std_hu(case, drawn.moments, window)
            paper_std = float(np.concatenate([each.std for each in drawn.moments]).mean())
        return SubjectScores(
            subject=case.name,
            group=group_of(case.name, self.plan.groups),
            slices=case.slices,
            dimensions=case.dimensions,
            single=single,
            mean=mean,
            mean_std_hu=deviation,
            paper_std=paper_std,
            seconds_a_slice=drawn.seconds / case.slices,
        )

    def _run(self, contestant: Contestant, scored: Sequence[Scored]) -> Run:
        subjects = tuple(each.scores for each in scored)
        slices = sum(each.slices for each in subjects)
        evaluations = sum(each.evaluations for each in scored)
        return Run(
            label=contestant.label,
            bundle=contestant.bundle.manifest.name,
            bundle_sha256=contestant.bundle.sha256,
            method=contestant.method,
            sampler=contestant.settings.sampler,
            options=contestant.options,
            mc=contestant.mc,
            evaluations_a_sample=evaluations / (slices * contestant.mc),
            seconds_a_slice=sum(each.seconds_a_slice * each.slices for each in subjects) / slices,
            subjects=subjects,
            overall=overall(subjects, self.groups, self.plan.bootstrap),
            calibration=self._calibration(contestant, scored),
        )

    def _calibration(self, contestant: Contestant, scored: Sequence[Scored]) -> dict[str, Any]:
        """What the deviation is worth, as JSON has it; nothing where there is none."""
        voxels = [each.voxels for each in scored if each.voxels is not None and len(each.voxels)]
        if not voxels:
            return {}
        recalibration = recalibration_of(contestant.bundle, contestant)
        return worth(voxels, contestant.mc, recalibration, self.plan.bootstrap)

    def _pictured(self) -> list[str]:
        """The first subject of each group, or the first subjects where there are no groups."""
        apart = [names[0] for names in list(self.groups.values())[1:]]
        return (apart or [subject.name for subject in self.subjects])[:MOST_PICTURED]


def data_of(folder: Path, plan: Plan, found: Survey, groups: Mapping[str, tuple[str, ...]]) -> Data:
    """What of the data set is evaluated, for a report."""
    return Data(
        name=folder.resolve().name,
        subjects=len(found.slices),
        slices=sum(found.slices.values()),
        groups=groups,
        body=found.body,
        part=plan.selection.text,
        warnings=found.warnings,
    )
