from __future__ import annotations

import math

import pytest

from mrct_runtime.errors import UsageError
from mrct_runtime.process import DDPM, VESDE, Direct, Process
from mrct_runtime.started_process import started


@pytest.mark.parametrize("process", [VESDE(), DDPM()])
def test_a_started_process_is_the_same_with_less_noise_in_its_prior(process: Process) -> None:
    found = started(process, 0.4)
    assert isinstance(found, type(process))
    assert found.std(found.t_max) / found.alpha(found.t_max) == pytest.approx(0.4, rel=0.02)
    for t in (0.01, 0.1, 1.0):
        assert (found.alpha(t), found.std(t)) == (process.alpha(t), process.std(t))


def test_a_started_chain_begins_at_one_of_its_levels_with_no_less_noise() -> None:
    found = started(DDPM(), 0.4)
    assert found.levels == pytest.approx(1000 * found.t_max, abs=1e-9)
    assert found.std(found.t_max) / found.alpha(found.t_max) >= 0.4
    levels = found.respaced(20)
    assert (levels[0].t, levels[-1].abar_prev) == (found.t_max, 1)
    with pytest.raises(UsageError, match=f"1 to {found.levels} steps"):
        found.respaced(found.levels + 1)
    abar = DDPM().abar[300]
    assert started(DDPM(), math.sqrt((1 - abar) / abar)).levels == 300


def test_a_start_outside_the_process_is_refused() -> None:
    for sigma in (1e-4, 10.0):
        with pytest.raises(UsageError, match=f"sigma between 0.003162 and 9.845, got {sigma:g}"):
            started(VESDE(), sigma)
    with pytest.raises(UsageError, match="a Direct model has no noise to start from"):
        started(Direct(), 0.1)
