import math
from dataclasses import replace

import numpy as np
import pytest
from dicom_study import make_grid, write_series
from fitted import recalibration
from mr_study import SHAPE, blob, write_mr_study
from tiny_bundle import DEVIATION, write_tiny_bundle

import mrct_runtime
from mrct_export.bundle_writer import rewrite
from mrct_runtime import settings
from mrct_runtime.bundle import Bundle
from mrct_runtime.demonstration import demonstration_bundle
from mrct_runtime.dicom import read_study
from mrct_runtime.engines import Backend
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.errors import (
    BundleError,
    DeviceMemoryError,
    NoInputError,
    NumericError,
    UsageError,
)
from mrct_runtime.intensity import AIR_HU, HuWindow, MrNormalisation
from mrct_runtime.manifest import Image
from mrct_runtime.placing import Placing
from mrct_runtime.process import DDPM, VESDE, Direct
from mrct_runtime.settings import Settings
from mrct_runtime.translate import conditioned, prepare
from mrct_runtime.volume import Grid

WINDOW = HuWindow()
# The expectation of a sample deviation of n is c4(n) sigma.
C4_10 = 0.9727
LOOSE = {"rtol": 1e-2, "atol": 1e-2}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return mrct_runtime.load(
        write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny.mrct", size=24)
    )


@pytest.fixture
def study(tmp_path):
    return write_mr_study(tmp_path / "study")


def expected_hu(bundle, study):
    """What a model whose mean CT is the MR should give, on the MR's own grid."""
    mr = read_study(study).volume
    condition, *_ = conditioned(mr, bundle.normalisation, bundle.manifest.image)
    return WINDOW.to_hu(condition.array.astype(np.float64))


def test_mean_and_deviation_are_those_of_the_models_distribution(bundle, study):
    options = {"rtol": 1e-3, "atol": 1e-3}
    result = bundle.translate(study, sampler="ode", mc=10, options=options)
    # the last denoise, a factor s^2 / (s^2 + std^2), takes a little more than the noise
    std = VESDE().std(1e-3)
    deviation = DEVIATION**2 / math.hypot(DEVIATION, std)
    truth = expected_hu(bundle, study)
    # where the mean is not clamped
    inner = (truth > WINDOW.to_hu(np.array(0.2))) & (truth < WINDOW.to_hu(np.array(0.8)))
    # what the prior's own mean leaves in the result
    mean = WINDOW.to_hu(np.array(bundle.manifest.prior_mean))
    bias = (mean - truth) * deviation / math.hypot(DEVIATION, VESDE().std(1.0))
    error = (result.mean_hu.array - truth - bias)[inner] / WINDOW.width
    standard_error = deviation / math.sqrt(10)
    assert abs(error.mean()) < 4 * standard_error / math.sqrt(error.size)
    assert error.std() == pytest.approx(standard_error, rel=0.05)
    spread = result.std_hu.array[inner].mean() / WINDOW.width
    assert spread == pytest.approx(C4_10 * deviation, rel=0.02)


@pytest.mark.parametrize("angles", [(0, 0, 0), (0, 0, 180), (0, 180, 0), (12, -8, 25)])
def test_the_result_lies_on_the_mrs_own_voxels_whatever_their_order(angles, bundle, tmp_path):
    study = write_mr_study(tmp_path / "turned", angles=angles)
    job = prepare(bundle, study, Settings(mc=1, options={"steps": 300}))
    # a model that is certain, so that the CT is the MR again
    engine = Analytic(VESDE(), deviation=np.zeros_like)
    result = job.run(engine)
    source = job.source.volume
    assert np.array_equal(result.mean_hu.grid.affine, source.grid.affine)
    inner = (slice(None), slice(3, -3), slice(3, -3))
    low, high = np.percentile(source.array, (0.5, 99.5))
    unit = ((source.array - low) / (high - low)).clip(0, 1)
    difference = result.mean_hu.array[inner] - WINDOW.to_hu(unit)[inner]
    assert np.abs(difference).max() < 60
    assert np.abs(difference).mean() < 8


@pytest.mark.parametrize("angles", [(0, 0, 0), (12, -8, 25)])
@pytest.mark.parametrize("plane", ["sagittal", "coronal"])
def test_a_named_stack_of_another_plane_gives_what_its_axial_cuts_give(plane, angles, tmp_path):
    model = mrct_runtime.load(write_tiny_bundle(tmp_path / "t.mrct", Direct(), size=24))
    signal = blob((24, 24, 24))
    axial = make_grid(signal.shape, (2.0, 2.0, 2.0), angles)
    write_series(tmp_path / "axial", axial, signal)
    # the same voxels, as slices against x or along y, each from head to foot
    order = {"sagittal": (2, 0, 1), "coronal": (1, 0, 2)}[plane]
    flipped = {"sagittal": (0, 1), "coronal": (1,)}[plane]
    move = np.zeros((4, 4))
    move[3, 3] = 1
    for new, old in enumerate(order):
        move[old, new] = -1 if new in flipped else 1
        move[old, 3] = 23 if new in flipped else 0
    turned = np.flip(signal.transpose(order), flipped)
    write_series(tmp_path / plane, Grid(axial.affine @ move, turned.shape), turned)
    job = prepare(model, tmp_path / plane, Settings(sampler="direct"), series="4")
    assert f"the series is {plane}: its axial cuts are translated, 24 of 24 x 24" in job.warnings[0]
    cuts = job.run(job.open_engine()).mean_hu
    expected = model.translate(tmp_path / "axial", sampler="direct").mean_hu
    assert cuts.grid.matches(job.source.volume.grid)
    assert cuts.canonical().grid.matches(expected.grid, tolerance_mm=1e-4)
    np.testing.assert_allclose(cuts.canonical().array, expected.array, atol=0.1)
    assert expected.array.std() > 100


def test_beyond_the_models_field_of_view_there_is_air_and_no_uncertainty(study, tmp_path):
    small = mrct_runtime.load(write_tiny_bundle(tmp_path / "small.mrct", size=16))
    job = prepare(small, study, Settings(mc=2, options={"steps": 20}))
    result = job.run(Analytic(VESDE()))
    assert (result.mean_hu.array[:, :4] == AIR_HU).all()
    assert (result.std_hu.array[:, :, -4:] == 0).all()
    assert (result.mean_hu.array[:, 8:-8, 8:-8] > AIR_HU).all()
    lost = 1 - 16**2 / 24**2
    assert [f"{lost:.1%} of the body" in warning for warning in result.warnings] == [True]


def test_the_mean_is_taken_before_it_is_clamped(bundle, study):
    """Clamped samples of dark pixels would average to 0.4 deviations above the window's end."""
    job = prepare(bundle, study, Settings(mc=20, options={"steps": 50}))
    engine = Analytic(VESDE(), mean=np.zeros_like, deviation=lambda y: np.full_like(y, 0.05))
    mean = job.run(engine).mean_hu.array
    assert mean.min() == WINDOW.low
    bias_of_clamping_first = 0.4 * 0.05 * WINDOW.width
    assert mean.mean() - WINDOW.low < bias_of_clamping_first / 4


@pytest.mark.parametrize("beyond", [-1.0, 2.0])
def test_a_body_outside_the_window_is_refused(beyond, bundle, study):
    job = prepare(bundle, study, Settings(mc=1, options={"steps": 50}))
    engine = Analytic(VESDE(), mean=lambda y: np.full_like(y, beyond))
    with pytest.raises(NumericError, match=r"100\.0% of the body lies outside"):
        job.run(engine)


def test_a_little_outside_the_window_is_counted_and_told(bundle, study):
    def mean(y):
        out = np.full_like(y, 0.5)
        out[..., 0, :] = 1.5
        return out

    job = prepare(bundle, study, Settings(mc=1, options={"steps": 50}))
    result = job.run(Analytic(VESDE(), mean=mean, deviation=lambda y: np.full_like(y, 0.01)))
    assert result.counters.above_window == SHAPE[0] * SHAPE[2]
    assert result.counters.below_window == 0
    assert "4.17% of the body" in result.warnings[0]


def test_values_that_are_not_finite_are_never_a_result(bundle, study):
    job = prepare(bundle, study, Settings(mc=1, options={"steps": 5}))
    with pytest.raises(NumericError, match="slice 0"):
        job.run(Analytic(VESDE(), mean=lambda y: np.full_like(y, np.nan)))


def test_the_default_batch_does_not_change_with_what_it_must_not(bundle, study):
    jobs = [
        prepare(bundle, study, Settings(mc=4, batch=b, options={"steps": 30})) for b in (1, 3, None)
    ]
    means = [job.run(Analytic(VESDE())).mean_hu.array for job in jobs]
    assert np.array_equal(means[0], means[1])
    assert np.array_equal(means[0], means[2])


@pytest.mark.parametrize(
    ("size", "gpu", "batch"),
    [(512, False, 2), (96, False, 10), (1024, False, 1), (512, True, 10), (96, True, 284)],
)
def test_the_default_batch_fills_the_device_whatever_the_samples_a_slice(
    size, gpu, batch, tmp_path, monkeypatch
):
    bundle = mrct_runtime.load(write_tiny_bundle(tmp_path / "some.mrct", size=size))
    monkeypatch.setattr(settings, "expects_gpu", lambda _target: gpu)
    assert {Settings(mc=mc).sampling(bundle, "").batch for mc in (1, 4, 40)} == {batch}


def test_a_cpu_in_the_place_of_a_gpu_gets_no_more_images_than_suit_it(bundle, study, monkeypatch):
    monkeypatch.setattr(settings, "expects_gpu", lambda _target: True)
    few = {"steps": 5, "predictor": "reverse-diffusion"}
    for batch, expected in ((None, 10), (12, 12)):
        job = prepare(bundle, study, Settings(mc=8, batch=batch, options=few))
        result = job.run(Analytic(VESDE()))
        assert result.counters.batch == result.sampling.batch == expected
        assert not any("memory" in warning for warning in result.warnings)


def test_what_goes_wrong_while_slices_are_placed_reaches_the_caller(bundle, study, monkeypatch):
    error = NumericError("off the grid")

    def place(_placing, _finished):
        raise error

    monkeypatch.setattr(Placing, "place", place)
    job = prepare(bundle, study, Settings(mc=1, options={"steps": 5}))
    with pytest.raises(NumericError) as caught:
        job.run(Analytic(VESDE()))
    assert caught.value is error


def test_an_engine_that_was_opened_for_nothing_is_closed(bundle, tmp_path, monkeypatch):
    closed = []

    def open_engine(*_words):
        engine = Analytic(VESDE())
        monkeypatch.setattr(type(engine), "close", lambda _: closed.append("closed"))
        return engine

    monkeypatch.setattr(Bundle, "open_engine", open_engine)
    with pytest.raises(NoInputError):
        bundle.translate(tmp_path / "nowhere")
    assert closed == ["closed"]


def test_a_sampler_without_a_preset_runs_with_its_own_and_says_so(tmp_path, study):
    path = write_tiny_bundle(tmp_path / "old.mrct", size=24)
    bundle = rewrite(path, presets={"em": {"steps": 50}})
    job = prepare(bundle, study, Settings("unipc"))
    assert job.sampling.sampler.steps == 20
    (line,) = [line for line in job.warnings if "preset" in line]
    assert (
        "old has no preset for the sampler unipc: it takes the sampler's own 20 evaluations" in line
    )
    for quiet in (
        Settings("em"),
        Settings("unipc", options={"steps": 8}),
        Settings(recipe="paper"),
    ):
        assert quiet.notes(bundle) == ()


def test_settings_come_from_the_preset_then_the_recipe_then_the_options(bundle):
    preset = bundle.preset("em")
    assert Settings().sampling(bundle, "").sampler.steps == preset["steps"]
    paper = Settings(sampler="ode", recipe="paper").sampling(bundle, "").sampler
    assert (paper.steps, paper.denoise) == (10_000, False)
    mine = Settings(sampler="ode", recipe="paper", options={"denoise": True})
    assert mine.sampling(bundle, "").sampler.denoise is True


def test_the_noise_is_keyed_by_the_series(bundle, study):
    assert prepare(bundle, study, Settings()).sampling.series == read_study(study).uid


def test_a_sampler_of_another_process_is_refused_before_reading(bundle, tmp_path):
    with pytest.raises(UsageError, match="sampler ddpm needs a DDPM model, this one is a VESDE"):
        prepare(bundle, tmp_path / "nowhere", Settings(sampler="ddpm"))


def test_a_ddpm_bundle_is_served_by_the_ddpm_sampler(study, tmp_path):
    bundle = mrct_runtime.load(write_tiny_bundle(tmp_path / "tiny.mrct", DDPM(), size=24))
    result = bundle.translate(study, sampler="ddpm", mc=2, options={"steps": 50})
    truth = expected_hu(bundle, study)
    assert np.corrcoef(result.mean_hu.array.ravel(), truth.ravel())[0, 1] > 0.9


def test_the_condition_is_the_mr_between_its_percentiles(tmp_path):
    grid = make_grid(SHAPE, (3.0, 2.0, 2.0))
    write_series(tmp_path / "study", grid, blob())
    mr = read_study(tmp_path / "study").volume
    image = Image(size=24, spacing_mm=2.0, multiple=1)
    condition, body, lost, _ = conditioned(mr, MrNormalisation(1.0, 99.0), image)
    low, high = np.percentile(blob(), (1.0, 99.0))
    assert np.allclose(condition.array, ((blob() - low) / (high - low)).clip(0, 1), atol=1e-5)
    assert body.all()
    assert lost == pytest.approx(0, abs=1e-12)


def test_a_missing_bundle_is_a_bundle_error(tmp_path):
    with pytest.raises(BundleError):
        mrct_runtime.load(tmp_path / "gone.mrct")


@pytest.mark.parametrize("name", ["paper", "authors"])
def test_a_published_recipe_starts_around_zero_as_published(bundle, name):
    assert bundle.manifest.prior_mean != 0
    assert Settings(sampler="ode", recipe=name).sampling(bundle, "").prior_mean == 0
    assert Settings(sampler="ode").sampling(bundle, "").prior_mean == bundle.manifest.prior_mean


def test_a_model_that_cannot_be_sampled_that_far_is_refused_before_reading(bundle):
    with pytest.raises(UsageError, match="needs a model trained there"):
        Settings(sampler="em", options={"steps": 1_000_000}).sampling(bundle, "")


@pytest.fixture(scope="module")
def direct(tmp_path_factory):
    place = tmp_path_factory.mktemp("direct") / "tiny-cnn.mrct"
    return mrct_runtime.load(write_tiny_bundle(place, Direct(), size=24))


def test_a_direct_network_gives_its_image_in_one_evaluation_a_slice(direct, study):
    result = direct.translate(study, sampler="direct")
    assert np.allclose(result.mean_hu.array, expected_hu(direct, study), atol=1e-3)
    assert (result.std_hu.array == 0).all()
    assert result.counters.evaluations == SHAPE[0]
    assert result.sampling.mc == 1


def test_a_direct_network_says_that_it_has_no_deviation(direct, study):
    (warning,) = direct.translate(study, sampler="direct").warnings
    assert warning.startswith("a direct network has no deviation: the uncertainty map is 0")


def test_more_samples_of_a_direct_network_are_refused_before_reading(direct, tmp_path):
    with pytest.raises(UsageError, match="one image of a slice, mc 10 asks for more: leave mc out"):
        prepare(direct, tmp_path / "nowhere", Settings(sampler="direct", mc=10))
    assert Settings(sampler="direct", mc=1).sampling(direct, "").mc == 1
    with pytest.raises(UsageError, match="mc must be at least 1"):
        Settings(sampler="direct", mc=0).sampling(direct, "")


def test_the_number_of_samples_is_ten_where_none_is_given(bundle):
    assert Settings().sampling(bundle, "").mc == 10
    assert Settings(mc=3).sampling(bundle, "").mc == 3


@pytest.mark.parametrize(("name", "fits"), [("em", "direct"), ("direct", "bundle")])
def test_a_direct_network_and_a_sampler_of_noise_do_not_go_together(name, fits, request, tmp_path):
    with pytest.raises(UsageError, match=f"sampler {name} needs a .* model, this one is a"):
        prepare(request.getfixturevalue(fits), tmp_path / "nowhere", Settings(sampler=name))


@pytest.fixture
def calibrated(tmp_path):
    """A bundle with a recalibration that doubles the deviation of three samples."""
    path = write_tiny_bundle(tmp_path / "tiny.mrct", size=24)
    return rewrite(path, uncertainty={"em": recalibration("em", mc=3, steps=40)})


def test_the_deviation_is_recalibrated_in_the_body_as_the_bundle_says(calibrated, study):
    def run(**settings):
        job = prepare(calibrated, study, Settings(options={"steps": 40}, **settings))
        return job.run(Analytic(VESDE()))

    found, raw = run(mc=3), run(mc=3, raw_uncertainty=True)
    assert np.allclose(found.std_hu.array, 2 * raw.std_hu.array, rtol=1e-6)
    assert np.array_equal(found.mean_hu.array, raw.mean_hu.array)
    assert found.uncertainty.recalibration == calibrated.manifest.uncertainty["em"]
    assert raw.uncertainty.recalibration is None
    assert found.warnings == raw.warnings


def test_outside_the_body_and_the_models_view_the_deviation_stays_as_it_is(study, tmp_path):
    path = write_tiny_bundle(tmp_path / "small.mrct", size=16)
    fitted = recalibration("em", mc=2, steps=20, floor_hu=50.0)
    small = rewrite(path, uncertainty={"em": fitted})
    job = prepare(small, study, Settings(mc=2, options={"steps": 20}))
    std = job.run(Analytic(VESDE())).std_hu.array
    assert (std[:, :4] == 0).all()
    assert std[:, 8:-8, 8:-8].min() >= 50


def test_of_other_settings_the_deviation_stays_raw_with_a_warning(calibrated, study):
    result = calibrated.translate(study, mc=2, options={"steps": 40})
    assert result.uncertainty.recalibration is None
    asked = calibrated.translate(study, mc=2, options={"steps": 40}, raw_uncertainty=True)
    (warning,) = set(result.warnings) - set(asked.warnings)
    assert "is for mc 3, not 2: the uncertainty map is raw" in warning
    assert np.array_equal(asked.std_hu.array, result.std_hu.array)


def test_one_sample_comes_with_a_warning_that_its_map_says_nothing(bundle, study):
    result = bundle.translate(study, mc=1, options={"steps": 20})
    assert any("one sample has no deviation: the uncertainty map" in w for w in result.warnings)


class Halved(Analytic):
    """An engine that says it runs in half precision."""

    backend = Backend("analytic", "cpu", "fp16")


def test_half_precision_that_was_not_audited_with_the_sampler_is_told(study):
    loaded = mrct_runtime.load(demonstration_bundle("em"))
    half = loaded.manifest.half
    few = half.model_copy(update={"sampled": {name: half.sampled[name] for name in ("em", "pc")}})
    manifest = loaded.manifest.model_copy(update={"half": few})
    demonstration = replace(loaded, manifest=manifest)
    told = {}
    for name in ("dpmpp", "em"):
        job = prepare(demonstration, study, Settings(name, mc=2, options={"steps": 10}))
        for engine in (Halved(VESDE()), Analytic(VESDE())):
            found = job.run(engine).warnings
            told[name, engine.backend.precision] = [line for line in found if "half" in line]
    (line,) = told.pop(("dpmpp", "fp16"))
    assert "demo-sde was audited with em, pc, not with dpmpp; --precision fp32" in line
    assert not any(told.values())


class Small(Analytic):
    """An engine with memory for three images."""

    def bind(self, cond):
        if len(cond) > 3:
            raise DeviceMemoryError("out of memory")
        return super().bind(cond)


def test_a_batch_that_memory_made_smaller_is_counted_and_told(bundle, study):
    job = prepare(bundle, study, Settings("ode", mc=2, batch=8, options=LOOSE))
    whole, short = job.run(Analytic(VESDE())), job.run(Small(VESDE()))
    assert (whole.counters.batch, short.counters.batch) == (8, 2)
    assert not any("memory" in warning for warning in whole.warnings)
    (told,) = (warning for warning in short.warnings if "memory" in warning)
    assert "of cpu was too small for 8 images at once, 2 were sampled" in told
    np.testing.assert_array_equal(whole.mean_hu.array, short.mean_hu.array)


def test_a_batch_that_the_engine_or_the_study_makes_smaller_is_no_warning(bundle, study):
    job = prepare(bundle, study, Settings("ode", mc=1, batch=10_000, options=LOOSE))
    for engine, batch in ((Analytic(VESDE()), SHAPE[0]), (Analytic(VESDE(), max_batch=2), 2)):
        result = job.run(engine)
        assert result.counters.batch == batch
        assert not any("memory" in warning for warning in result.warnings)
