from __future__ import annotations

import json
import math

import pytest
from flat_pairs import write_pairs
from matplotlib.image import imread
from tiny_bundle import write_tiny_bundle

from mrct_export.bundle_writer import rewrite
from mrct_runtime.bundle import Bundle
from mrct_runtime.engines.target import Target
from mrct_runtime.errors import NumericError, UsageError
from mrct_runtime.evaluation import drawn, tuner
from mrct_runtime.evaluation.conditions import conditions
from mrct_runtime.evaluation.figures.tuning import draw
from mrct_runtime.evaluation.ladders import TOLERANCES, ladders
from mrct_runtime.evaluation.results import Data
from mrct_runtime.evaluation.runner import Plan
from mrct_runtime.evaluation.tuner import Tuner
from mrct_runtime.evaluation.tuning import Point, Tolerance, Tuning, curve
from mrct_runtime.process import DDPM, VESDE, Direct
from mrct_runtime.settings import Settings

LONG = Point({"steps": 1000}, 1000.0, 20.0, 0.98, 30.0, 1.0)
TOLERANCE = Tolerance(mae=0.01, deviation=0.05)


def point(evaluations: int, mae_hu: float = 20.0, std_hu: float = 30.0) -> Point:
    return Point({"steps": evaluations}, evaluations, mae_hu, 0.98, std_hu, 0.1)


def choice(*points: Point) -> float | None:
    found = curve("em", LONG, points, (), TOLERANCE).choice
    return None if found is None else found.evaluations


def test_the_fewest_evaluations_within_both_tolerances_are_chosen() -> None:
    assert choice(point(5, mae_hu=20.3), point(10, mae_hu=20.1), point(20)) == 10
    assert choice(point(5, std_hu=28.4), point(10, std_hu=28.6), point(20, std_hu=31.4)) == 10
    assert choice(point(20), point(5), point(10)) == 5


def test_a_lower_error_than_the_long_runs_is_no_fault() -> None:
    assert choice(point(5, mae_hu=12.0), point(10)) == 5


def test_a_curve_that_only_passes_through_the_reference_is_not_taken_there() -> None:
    assert choice(point(5), point(10, std_hu=40.0), point(20)) == 20
    assert choice(point(5), point(10), point(20, std_hu=40.0)) is None
    assert choice() is None


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_tolerances_that_make_no_sense_are_refused(value: float) -> None:
    with pytest.raises(UsageError, match="must be finite and above 0, got"):
        Tolerance(mae=value, deviation=0.05)


def test_every_sampler_of_the_bundle_is_tried_where_it_can_be(tmp_path) -> None:
    bundle = Bundle.load(write_tiny_bundle(tmp_path / "tiny.mrct"))
    found = {each.sampler: each for each in ladders(bundle, (), (5, 8, 2000), 1000)}
    assert set(found) == {"em", "pc", "ode", "ddim", "dpmpp", "heun", "unipc"}
    assert found["em"].rungs == ({"steps": 5}, {"steps": 8})
    # a level of pc is two evaluations
    assert found["pc"].rungs == ({"steps": 8},)
    assert [rung["rtol"] for rung in found["ode"].rungs] == list(TOLERANCES)
    assert found["dpmpp"].reference == {"steps": 1000}


def test_a_sampler_that_is_named_twice_is_tuned_once(tmp_path) -> None:
    bundle = Bundle.load(write_tiny_bundle(tmp_path / "tiny.mrct"))
    found = ladders(bundle, ("unipc", "em", "unipc"), (5,), 1000)
    assert [each.sampler for each in found] == ["unipc", "em"]


def test_a_chain_is_not_asked_for_more_levels_than_it_has(tmp_path) -> None:
    process = DDPM(steps=40, beta_start=0.01, beta_end=0.3)
    path = write_tiny_bundle(tmp_path / "tiny.mrct", process)
    bundle = rewrite(path, presets={"ddpm": {"steps": 40}})
    (found,) = ladders(bundle, ("ddpm",), (5, 40, 100), 1000)
    assert (found.reference, found.rungs) == ({"steps": 40}, ({"steps": 5},))


def test_what_cannot_be_tuned_is_refused(tmp_path) -> None:
    direct = Bundle.load(write_tiny_bundle(tmp_path / "direct.mrct", Direct()))
    with pytest.raises(UsageError, match="direct is a direct network: it has no steps to tune"):
        ladders(direct, (), (5,), 1000)
    bundle = Bundle.load(write_tiny_bundle(tmp_path / "tiny.mrct", VESDE()))
    with pytest.raises(UsageError, match="sampler ddpm needs a DDPM model"):
        ladders(bundle, ("ddpm",), (5,), 1000)
    with pytest.raises(UsageError, match="sampler pc takes none of the steps 5, 7"):
        ladders(bundle, ("pc",), (5, 7), 1000)


def test_a_preset_that_has_no_long_run_is_named(tmp_path) -> None:
    path = write_tiny_bundle(tmp_path / "tiny.mrct")
    bundle = rewrite(path, presets={"em": {"steps": 100, "eps": 0.01}})
    with pytest.raises(
        UsageError, match="sampler em cannot make its reference of 1000 evaluations: eps"
    ):
        ladders(bundle, (), (5,), 1000)


def test_settings_are_tried_beside_the_other_options_of_the_preset(tmp_path) -> None:
    path = write_tiny_bundle(tmp_path / "tiny.mrct")
    # eps 1e-3 leaves noise in the image at 100 steps and is refused there
    bundle = rewrite(path, presets={"em": {"steps": 1000, "eps": 1e-3}})
    (found,) = ladders(bundle, ("em",), (100, 900), 1000)
    assert found.rungs == ({"steps": 900},)


def tuning(**curves: tuple[Point, ...]) -> Tuning:
    found = tuple(curve(name, LONG, points, (), TOLERANCE) for name, points in curves.items())
    data = Data("pairs", 1, 1, {}, {}, "subjects *")
    return Tuning("tiny", "0" * 64, TOLERANCE, conditions(Plan(), 4), data, found)


def test_the_best_sampler_has_the_fewest_evaluations_of_those_that_are_as_good() -> None:
    slow, fast, worse = (point(50, 18.0),), (point(10, 18.1),), (point(5, 20.0),)
    assert tuning(em=slow, dpmpp=fast, unipc=worse).best == "dpmpp"
    assert tuning(em=slow, dpmpp=(point(10, 18.3),)).best == "em"
    assert tuning(em=(point(50, 30.0),)).best is None


def test_the_json_has_the_spread_and_the_figure_is_drawn(tmp_path) -> None:
    found = tuning(
        em=(point(5, 90.0, 3.0), point(20, 20.0, 30.0)),
        pc=(point(5, 90.0, 3.0), point(20, 20.0, 15.0)),
    )
    assert found.presets == {"em": {"steps": 20}}
    told = json.loads(found.to_json())
    assert told["best"] == "em"
    assert [each["spread_ratio"] for each in told["curves"][1]["points"]] == [0.1, 0.5]
    assert [each["chosen"] for each in told["curves"]] == [1, None]
    draw(found, tmp_path / "tuning.png")
    image = imread(tmp_path / "tuning.png")
    assert image.shape[1] == 1440
    # both samplers' colours are on it, so curves were drawn: black and Okabe and Ito's orange
    orange = abs(image[..., :3] - [0xE6 / 255, 0x9F / 255, 0]).max(axis=-1) < 0.02
    assert orange.sum() > 100


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """A tuner of two subjects, of which one ends a run of the named number of steps with an error."""
    bundle = Bundle.load(write_tiny_bundle(tmp_path / "tiny.mrct", size=32, spacing_mm=1.0))
    data = write_pairs(tmp_path / "pairs", ("A1", "A2"))

    def make(steps: int) -> Tuner:
        def draw_some(contestant, engine, case, progress, journals):
            if case.name == "A2" and contestant.options["steps"] == steps:
                raise NumericError("not finite")
            return drawn.draw(contestant, engine, case, progress, journals)

        monkeypatch.setattr(tuner, "draw", draw_some)
        plan = Plan(settings=Settings(mc=2, target=Target("cpu", threads=1)))
        return Tuner(bundle, data, plan, ladders(bundle, ("unipc",), (5, 10), 40))

    return make


def test_a_setting_that_ends_with_an_error_is_left_out_and_named(failing) -> None:
    (found,) = failing(5).run(TOLERANCE).curves
    assert [each.evaluations for each in found.points] == [10]
    assert found.failed == ("unipc, steps 5",)


def test_a_reference_that_ends_with_an_error_ends_the_tuning(failing) -> None:
    with pytest.raises(NumericError, match="not finite"):
        failing(40).run(TOLERANCE)
