"""An evaluation from bundles and a data set to scores: subject by subject, every contestant on the same slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mrct_runtime.bundle import Bundle
from mrct_runtime.engines import Engine
from mrct_runtime.evaluation.advance import Show, Work
from mrct_runtime.evaluation.bootstrap import Bootstrap
from mrct_runtime.evaluation.calibration import Voxels
from mrct_runtime.evaluation.cases import Case, Selection, load_case
from mrct_runtime.evaluation.conditions import conditions
from mrct_runtime.evaluation.contestants import Contestant, contestants
from mrct_runtime.evaluation.drawn import Drawn, draw
from mrct_runtime.evaluation.groups import group_of, members, overall
from mrct_runtime.evaluation.pictured import pictures
from mrct_runtime.evaluation.results import Data, Evaluation, Pictures, Run, SubjectScores
from mrct_runtime.evaluation.scoring import Ruler, average, mean_std_hu
from mrct_runtime.evaluation.survey import Survey, survey
from mrct_runtime.evaluation.voxels import body_voxels, recalibration_of, worth
from mrct_runtime.settings import Settings

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


class _Scored(NamedTuple):
    """One subject's scores, the evaluations that all its samples took, and voxels of several samples."""

    scores: SubjectScores
    evaluations: int
    voxels: Voxels | None


class Evaluator:
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

    def run(self, show: Show = lambda _: None) -> tuple[Evaluation, tuple[Pictures, ...]]:
        """The scores, and pictures of one slice of a subject or two."""
        scored: dict[str, list[_Scored]] = {each.label: [] for each in self.contestants}
        shown: list[Pictures] = []
        with ExitStack() as stack:
            engines = self._open(stack)
            for contestant, case, drawn in self._drawn(engines, show):
                scored[contestant.label].append(self._scored(contestant, case, drawn))
                if case.name in self._pictured():
                    engine = engines[contestant.bundle.sha256]
                    shown.append(pictures(contestant, engine, case, drawn))
        runs = tuple(self._run(each, scored[each.label]) for each in self.contestants)
        measured = conditions(self.plan, max(each.mc for each in self.contestants))
        found = data_of(self._folder, self.plan, self.survey, self.groups)
        return Evaluation(measured, found, runs), tuple(shown)

    def drawn(self, show: Show = lambda _: None) -> Iterator[tuple[Contestant, Case, Drawn]]:
        """Every case through every contestant, for who asks for samples and no scores."""
        with ExitStack() as stack:
            yield from self._drawn(self._open(stack), show)

    def _open(self, stack: ExitStack) -> dict[str, Engine]:
        """Bundle's digest -> its network; closed with the stack."""
        target = self.plan.settings.target
        bundles = {each.bundle.sha256: each.bundle for each in self.contestants}
        return {
            digest: stack.enter_context(closing(bundle.open_engine(target)))
            for digest, bundle in bundles.items()
        }

    def _drawn(
        self, engines: Mapping[str, Engine], show: Show
    ) -> Iterator[tuple[Contestant, Case, Drawn]]:
        """Every case through every contestant; one subject is in memory at a time."""
        work = Work(self.contestants, self.survey.slices, show)
        for subject in self.subjects:
            for preparation in dict.fromkeys(each.preparation for each in self.contestants):
                case = load_case(subject, preparation, self.plan.selection)
                for each in self.contestants:
                    if each.preparation == preparation:
                        engine = engines[each.bundle.sha256]
                        yield each, case, draw(each, engine, case, work.watch(case.name, each))
                        work.finish(case.name, each)

    def _scored(self, contestant: Contestant, case: Case, drawn: Drawn) -> _Scored:
        window = contestant.bundle.window
        voxels = body_voxels(case, drawn.moments, window) if drawn.n > 1 else None
        return _Scored(self._scores(contestant, case, drawn), drawn.evaluations, voxels)

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

    def _run(self, contestant: Contestant, scored: Sequence[_Scored]) -> Run:
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

    def _calibration(self, contestant: Contestant, scored: Sequence[_Scored]) -> dict[str, Any]:
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
