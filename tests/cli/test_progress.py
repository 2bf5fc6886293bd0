from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from mrct_cli.progress import Lines, State, Watch
from mrct_runtime.denoisers import observed
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.engines.wrapped import WrappedEngine
from mrct_runtime.process import VESDE
from mrct_runtime.samplers import sampler
from mrct_runtime.sampling import Sampling
from mrct_runtime.stopping import Stopping
from mrct_runtime.synthesis import synthesize

EM = sampler("em", {"steps": 20, "predictor": "reverse-diffusion"})


def watched(sampling: Sampling, slices: int) -> list[State]:
    """What is shown while slices are sampled whose pixels all have the deviation 0.2."""
    condition = np.full((slices, 8, 8), 0.5)
    shown: list[State] = []
    job = SimpleNamespace(sampling=sampling, condition=SimpleNamespace(array=condition))
    watch = Watch(job, shown.append)
    engine = WrappedEngine(
        Analytic(VESDE(), deviation=lambda y: 0 * y + 0.2),
        lambda denoise: observed(denoise, watch.evaluated),
    )
    synthesize(engine, VESDE(), condition, sampling, watch.batch_finished)
    return shown


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch": 3},
        {"branch_at": 0.5},
        {"branch_at": 0.5, "batch": 8},
        {"branch_at": 0.5, "batch": 3},
    ],
)
def test_the_fraction_rises_to_the_whole(changes: dict) -> None:
    shown = [state.fraction for state in watched(Sampling(EM, 4, **changes), 4)]
    assert shown == sorted(shown)
    assert (shown[0], shown[-1]) == (0.0, 1.0)


def test_slices_to_come_are_expected_to_need_the_samples_of_those_before() -> None:
    sampling = Sampling(EM, 100, batch=10, stopping=Stopping(4, 0.05))
    shown = watched(sampling, 10)
    assert shown[-1].fraction == 1.0
    halfway = next(state for state in shown if state.slices == 5)
    assert halfway.fraction == pytest.approx(0.5, abs=0.1)


def told_by(states: list[State], capsys) -> list[int]:
    """The slices of each line."""
    lines = Lines()
    for state in states:
        lines(state)
    return [int(line.partition("/")[0]) for line in capsys.readouterr().err.splitlines()]


def test_of_quick_slices_one_a_second_is_told_and_the_last(capsys) -> None:
    eight_a_second = [State(k, 803, k / 803, k / 8) for k in range(1, 804)]
    assert told_by(eight_a_second, capsys) == [*range(1, 802, 8), 803]


def test_within_a_slice_a_line_is_told_every_ten_seconds(capsys) -> None:
    states = [State(3, 4, 0.8, 100.0 + second) for second in range(35)]
    assert told_by(states, capsys) == [3, 3, 3, 3]
