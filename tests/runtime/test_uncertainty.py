from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fitted import PRIOR_MEAN, recalibration

from mrct_runtime.samplers import sampler
from mrct_runtime.sampling import Sampling
from mrct_runtime.uncertainty import Uncertainty

FITTED = {"em": recalibration("em", mc=10, steps=50)}
FIFTY = Sampling(sampler("em", {"steps": 50}), mc=10, prior_mean=PRIOR_MEAN)
STD = np.array([[[1.0, 4.0]]])
BODY = np.array([[[True, True]]])


def test_it_is_applied_to_the_sampling_that_it_was_fitted_for() -> None:
    found = Uncertainty.of(FITTED, "em", FIFTY, raw=False)
    assert found.recalibration == FITTED["em"]
    assert found.warning is None
    assert np.array_equal(found.apply(0 * STD, STD, BODY), 2 * STD)


@pytest.mark.parametrize(
    ("options", "mc", "told"),
    [
        ({"steps": 50}, 20, "is for mc 10, not 20"),
        ({"steps": 60}, 10, "is for steps 50, not 60"),
        ({"steps": 50, "eps": 0.02}, 10, "is for eps None, not 0.02"),
        ({"steps": 60}, 2, "is for mc 10, not 2, steps 50, not 60"),
    ],
)
def test_of_any_other_sampling_the_deviation_stays_raw_and_that_is_told(
    options, mc: int, told: str
) -> None:
    sampling = Sampling(sampler("em", options), mc=mc, prior_mean=PRIOR_MEAN)
    found = Uncertainty.of(FITTED, "em", sampling, raw=False)
    assert found.recalibration is None
    assert told in found.why
    assert found.warning is not None
    assert f"{told}: the uncertainty map is raw" in found.warning
    assert np.array_equal(found.apply(0 * STD, STD, BODY), STD)


def test_of_samples_that_start_around_another_mean_the_deviation_stays_raw() -> None:
    found = Uncertainty.of(FITTED, "em", replace(FIFTY, prior_mean=0.0), raw=False)
    assert found.recalibration is None
    assert found.warning is not None
    assert "is for samples that start around 0.25, not 0: the uncertainty map" in found.warning


def test_a_deviation_asked_for_raw_or_without_any_recalibration_is_raw_without_a_warning() -> None:
    asked = Uncertainty.of(FITTED, "em", FIFTY, raw=True)
    none = Uncertainty.of({}, "em", FIFTY, raw=False)
    other = Uncertainty.of(FITTED, "ode", Sampling(sampler("ode"), mc=10), raw=False)
    for found in (asked, none, other):
        assert (found.recalibration, found.warning) == (None, None)
    assert asked.why == "raw as asked for"
    assert other.why == "the bundle has no recalibration for sampler ode"
