import numpy as np
import pytest
from scipy.integrate import solve_ivp

from mrct_runtime.evaluation.way import SHOWN_TIMES, Way
from mrct_runtime.samplers.dormand_prince import integrate

TOLERANCE = (1e-4, 1e-6)
START = np.array([[1.0, -2.0], [0.5, 3.0]])


def bend(t: float, x: np.ndarray) -> np.ndarray:
    """A slope with a sharp turn, at which steps are rejected."""
    return 40 * np.tanh(200 * (t - 0.3)) * np.cos(x)


def test_states_of_an_adaptive_solver_are_those_of_steps_that_it_took():
    way, asked = Way(adaptive=True), []

    def slope(t, x):
        way(x, t)
        asked.append(float(t[0]))
        return bend(t[0], x)

    integrate(slope, 1.0, 1e-3, START[None, None], tolerance=TOLERANCE, max_evaluations=10**6)
    rtol, atol = TOLERANCE
    taken = solve_ivp(
        lambda t, x: bend(t, x.reshape(2, 2)).ravel(),
        (1.0, 1e-3),
        START.ravel(),
        rtol=rtol,
        atol=atol,
    )
    # steps of six evaluations after the first two; some were rejected
    assert len(asked) > 2 + 6 * (len(taken.t) - 1)
    assert len(way.states) == len(SHOWN_TIMES)
    for shown, state in zip(SHOWN_TIMES, way.states, strict=True):
        step = np.flatnonzero(taken.t <= shown + 1e-9)[0]
        assert state.t == pytest.approx(taken.t[step], rel=1e-9)
        np.testing.assert_allclose(state.image.ravel(), taken.y[:, step], rtol=1e-5, atol=1e-6)


def test_of_states_at_one_time_the_last_is_shown():
    way = Way(adaptive=False)
    for t, value in ((1.0, 0), (0.5, 1), (0.5, 2), (0.4, 3), (0.2, 4), (0.2, 5)):
        way(np.full((1, 1, 2, 2), float(value)), t)
    assert [(state.t, state.image[0, 0]) for state in way.states] == [(1, 0), (0.5, 2), (0.2, 5)]
