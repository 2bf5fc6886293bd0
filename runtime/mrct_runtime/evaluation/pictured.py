"""The slice of a case that figures show, and the states that its first sample goes through."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mrct_runtime.arrays import Array, Time, on_host
from mrct_runtime.denoisers import observed
from mrct_runtime.engines import Engine
from mrct_runtime.engines.wrapped import WrappedEngine
from mrct_runtime.evaluation.cases import Case, Part
from mrct_runtime.evaluation.contestants import Contestant
from mrct_runtime.evaluation.drawn import Drawn
from mrct_runtime.evaluation.results import Pictures, State
from mrct_runtime.evaluation.tissue import tissues
from mrct_runtime.process import Direct
from mrct_runtime.synthesis import synthesize

SHOWN_TIMES: Final = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
"""The times of the reverse process whose states are kept; the sample itself comes after them."""


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
        samples=_single(window.to_hu(samples)),
        mean=_single(window.to_hu(moments.mean[s])),
        std=_single(moments.std[s] * window.width),
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
    seen: list[State] = []

    def watch(x: Array, t: Time) -> None:
        now = t if isinstance(t, float) else float(t[0])
        if _passed(now) > (_passed(seen[-1].t) if seen else 0):
            seen.append(State(now, _single(on_host(x)[0, 0])))

    one = replace(contestant.sampling(part.series), mc=1, batch=1)
    watched = WrappedEngine(engine, lambda denoise: observed(denoise, watch))
    condition = part.slices.mr[s : s + 1]
    moments = synthesize(watched, process, condition, one, slices=part.places[s : s + 1])
    return (*seen, State(0.0, _single(moments.mean[0])))


def _passed(t: float) -> int:
    """How many of the shown times lie at or before t; the grid times of a chain are not exact in binary."""
    return sum(t <= shown + 1e-9 for shown in SHOWN_TIMES)


def _single(image: NDArray[Any]) -> NDArray[np.float32]:
    return np.array(image, np.float32)
