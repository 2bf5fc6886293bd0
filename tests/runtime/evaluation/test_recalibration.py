from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from mrct_runtime.evaluation.recalibration import Recalibration, Scale

SCALES = {
    "air": Scale(factor=0.0, floor_hu=40.0),
    "soft": Scale(factor=2.0, floor_hu=0.0),
    "bone": Scale(factor=1.0, floor_hu=12.0),
}
MEAN = np.array([-900.0, 40.0, 700.0, 40.0], np.float32)
STD = np.array([9.0, 10.0, 5.0, 3.0], np.float32)
BODY = np.array([True, True, True, False])


def recalibration(**changes) -> Recalibration:
    given = {
        "options": {"steps": 50, "eps": None, "predictor": "euler-maruyama", "snr": 0.16},
        "mc": 10,
        "prior_mean": 0.25,
        "scales": SCALES,
        "data": "validation part of the split",
        "subjects": 2,
        "subjects_sha256": ("0" * 64, "f" * 64),
        "slices": 4,
        "coverage": {"50": (0.3, 0.5), "80": (0.6, 0.8), "95": (0.8, 0.95)},
    }
    return Recalibration(**given | changes)


def test_each_tissue_has_its_factor_and_a_floor_in_quadrature() -> None:
    # sqrt(5^2 + 12^2) = 13; what lies outside the body stays
    np.testing.assert_allclose(recalibration().apply(MEAN, STD, BODY), [40, 20, 13, 3])


def test_one_scale_serves_the_whole_body() -> None:
    whole = recalibration(scales={"all": Scale(factor=0.6, floor_hu=8.0)})
    expected = [*np.hypot(0.6 * STD[:3], 8.0), 3]
    np.testing.assert_allclose(whole.apply(MEAN, STD, BODY), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_map_keeps_its_shape_and_type_and_the_raw_one_is_left_alone(dtype) -> None:
    std = np.full((2, 3, 4), 5.0, dtype)
    result = recalibration().apply(np.zeros((2, 3, 4)), std, np.ones((2, 3, 4), bool))
    assert (result.shape, result.dtype) == (std.shape, dtype)
    assert (std == 5).all()


def test_it_serves_the_sampling_that_it_was_fitted_for_and_no_other() -> None:
    made = recalibration()
    assert made.serves(dict(made.options), 10, 0.25)
    assert not made.serves(dict(made.options), 20, 0.25)
    assert not made.serves(dict(made.options), 10, 0.0)
    assert not made.serves(made.options | {"steps": 100}, 10, 0.25)


def test_it_comes_back_from_json_as_it_was() -> None:
    made = recalibration()
    assert Recalibration.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    "changes",
    [
        {"scales": {"bone": SCALES["bone"]}},
        {"scales": {}},
        {"mc": 1},
        {"subjects": 0},
        {"subjects_sha256": ("A1",)},
        {"coverage": {"50": (0.3, 1.2)}},
    ],
)
def test_nonsense_is_refused(changes) -> None:
    with pytest.raises(ValidationError):
        recalibration(**changes)


def test_negative_scales_are_refused() -> None:
    with pytest.raises(ValidationError):
        Scale(factor=-1.0, floor_hu=0.0)


def test_the_value_can_be_part_of_the_manifest() -> None:
    code = "import sys, mrct_runtime.evaluation.recalibration; print('mrct_runtime.manifest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
