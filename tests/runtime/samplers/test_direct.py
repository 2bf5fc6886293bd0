from __future__ import annotations

import numpy as np
import pytest

from mrct_runtime.denoisers import Counted
from mrct_runtime.errors import UsageError
from mrct_runtime.noise import Noise
from mrct_runtime.process import Direct
from mrct_runtime.samplers.direct import OneEvaluation

NOISE = Noise(0, "", [(0, 0)], (2, 3))
IMAGE = np.arange(6.0).reshape(1, 1, 2, 3) - 2


def test_the_image_is_the_networks_output_of_one_evaluation_not_clipped() -> None:
    network = Counted(lambda _x, _t: IMAGE)
    assert np.array_equal(OneEvaluation()(network, Direct(), NOISE(), NOISE), IMAGE)
    assert network.evaluations == OneEvaluation().evaluations == 1


def test_the_image_outlives_the_networks_buffer() -> None:
    buffer = IMAGE.copy()
    image = OneEvaluation()(lambda _x, _t: buffer, Direct(), NOISE(), NOISE)
    buffer[...] = 7
    assert np.array_equal(image, IMAGE)


def test_the_network_is_asked_at_its_one_time() -> None:
    times: list[object] = []

    def network(x, t):
        times.append(t)
        return x

    OneEvaluation()(network, Direct(), NOISE(), NOISE)
    assert times == [1.0]


@pytest.mark.parametrize("steps", [0, 2, -1, True, "1"])
def test_more_than_one_step_makes_no_sense(steps) -> None:
    with pytest.raises(UsageError, match="takes 1 step, got"):
        OneEvaluation(steps)
