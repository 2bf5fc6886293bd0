"""The slice of a case that figures show, and the states that its first sample goes through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mrct_runtime.denoisers import observed
from mrct_runtime.engines import Engine
from mrct_runtime.engines.wrapped import WrappedEngine
from mrct_runtime.evaluation.cases import Case, Part
from mrct_runtime.evaluation.contestants import Contestant
from mrct_runtime.evaluation.drawn import Drawn
from mrct_runtime.evaluation.results import Pictures, State
from mrct_runtime.evaluation.tissue import tissues
from mrct_runtime.evaluation.way import Way, single
from mrct_runtime.process import Direct
from mrct_runtime.samplers import adapts
from mrct_runtime.synthesis import synthesize


def pictures(contestant: Contestant, engine: Engine, case: Case, drawn: Drawn) -> Pictures:
    """The slice of the first part that has the most bone; its first sample is drawn again to see it come about."""
    part, window = case.parts[0], contestant.bundle.window
    s = telling_slice(part)
    moments, samples = drawn.moments[0], drawn.samples[0][:, s]
    return Pictures(
        label=contestant.label,
        label_of_mean=contestant.label_of_mean,
        method=contestant.method,
        sampler=contestant.settings.sampler,
        subject=case.name,
        slice=part.places[s],
        spacing_mm=contestant.bundle.manifest.image.spacing_mm,
        mr=part.slices.mr[s],
        truth=part.slices.hu[s],
        body=part.slices.body[s],
        samples=single(window.to_hu(samples)),
        mean=single(window.to_hu(moments.mean[s])),
        std=single(moments.std[s] * window.width),
        states=_states(contestant, engine, part, s),
    )


def telling_slice(part: Part) -> int:
    """The slice with the most bone inside the body; among those without bone the one with the largest body."""
    bone = tissues(part.slices.hu)["bone"] & part.slices.body
    counts = bone.sum(axis=(1, 2)) + part.slices.body.mean(axis=(1, 2)) / 2
    return int(np.argmax(counts))


def _states(contestant: Contestant, engine: Engine, part: Part, s: int) -> tuple[State, ...]:
    """x_t of the slice's first sample at the shown times, and the sample as the last; none of a direct network."""
    process = contestant.bundle.process
    if isinstance(process, Direct):
        return ()
    way = Way(adaptive=adapts(contestant.settings.sampler))
    one = replace(contestant.sampling(part.series), mc=1, batch=1)
    watched = WrappedEngine(engine, lambda denoise: observed(denoise, way))
    condition = part.slices.mr[s : s + 1]
    moments = synthesize(watched, process, condition, one, slices=part.places[s : s + 1])
    return (*way.states, State(0.0, single(moments.mean[0])))
