from dataclasses import replace

import numpy as np
import pytest
from mr_study import write_mr_study
from tiny_bundle import write_tiny_bundle

import mrct_runtime
from mrct_runtime.departures import Given
from mrct_runtime.dicom.reference import Reference
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.manifest import Half, Sampled, SelfTest
from mrct_runtime.process import VESDE
from mrct_runtime.result import Model
from mrct_runtime.settings import Settings
from mrct_runtime.translate import prepare


@pytest.fixture(scope="session")
def sampled(tmp_path_factory):
    """A result of six samples of the closed form, whose deviation is 0.1 of the HU window."""
    place = tmp_path_factory.mktemp("sampled")
    bundle = mrct_runtime.load(write_tiny_bundle(place / "tiny.mrct", size=24))
    job = prepare(bundle, write_mr_study(place / "study"), Settings(mc=6, options={"steps": 400}))
    return job.run(Analytic(VESDE()))


@pytest.fixture
def sound(sampled):
    """A result that no check has anything against: like the training, and deviating as at the audit."""
    half = Half(
        kept=(),
        margins={},
        relative_rms=0.0,
        times=(1.0,),
        sampled={"em": Sampled(evaluations=400, difference_hu=0.1, limit_hu=0.1 * 4095 / 10**0.5)},
        slices="none",
        self_test=SelfTest(relative_rms=0.005),
    )
    manifest = sampled.model.manifest.model_copy(update={"half": half})
    given = Given(sampled.given.body, 0.0, (), compared=True)
    return replace(
        sampled,
        given=given,
        model=Model(manifest, "a" * 64),
        counters=replace(sampled.counters, below_window=0, above_window=0),
        warnings=(),
    )


@pytest.fixture
def reference(sound):
    """The result's own mean and errors of 200 HU as the true CT."""
    noise = np.random.default_rng(0).normal(0, 200, sound.mean_hu.array.shape)
    hu = (sound.mean_hu.array + noise).astype(np.float32)
    return Reference(hu, np.ones(hu.shape, bool), resampled=False)
