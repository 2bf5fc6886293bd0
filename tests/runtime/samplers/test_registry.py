from __future__ import annotations

import pytest
from sampler_oracles import PROCESSES

from mrct_runtime.errors import UsageError
from mrct_runtime.samplers import RECIPES, SAMPLERS, recipe, sampler
from mrct_runtime.samplers.checks import check_positive


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_counts_its_steps_in_evaluations(name: str) -> None:
    steps = 1 if name == "direct" else 100
    assert sampler(name, {"steps": steps}).evaluations == steps


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_is_registered_under_its_own_name(name: str) -> None:
    assert SAMPLERS[name].name == name


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_a_process_that_a_sampler_does_not_serve_is_refused_in_the_words_of_the_command(
    name: str,
) -> None:
    for kind, process in PROCESSES.items():
        if kind in SAMPLERS[name].families:
            sampler(name).check(process)
        else:
            words = " or ".join(family.__name__ for family in SAMPLERS[name].families)
            needs = f"sampler {name} needs a {words} model, this one is a"
            with pytest.raises(UsageError, match=f"{needs} {kind.__name__} model"):
                sampler(name).check(process)


def test_a_recipe_says_that_it_has_nothing_for_a_direct_network() -> None:
    with pytest.raises(
        UsageError, match="'paper' has nothing for sampler direct, but for ddpm, em"
    ):
        recipe("paper", "direct")


@pytest.mark.parametrize(
    ("recipe_name", "name"), [(recipe, name) for recipe in RECIPES for name in RECIPES[recipe]]
)
def test_every_recipe_builds_its_samplers(recipe_name: str, name: str) -> None:
    options = recipe(recipe_name, name)
    assert sampler(name, options).steps == options["steps"]


def test_the_papers_recipe_is_a_thousand_evaluations() -> None:
    for name in ("ddpm", "em", "pc"):
        assert sampler(name, recipe("paper", name)).evaluations == 1000


def test_an_unknown_name_or_option_is_named_with_what_there_is() -> None:
    with pytest.raises(UsageError, match="unknown sampler 'lms'; choose from ddpm, em, pc, ode"):
        sampler("lms")
    with pytest.raises(UsageError, match="sampler em has no option snr; it has allow_residual"):
        sampler("em", {"snr": 0.1})
    with pytest.raises(UsageError, match="unknown recipe 'mine'; choose from paper, authors"):
        recipe("mine", "em")


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_no_steps_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="got 0"):
        sampler(name, {"steps": 0})


@pytest.mark.parametrize("steps", [1_000_001, 10**400])
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "direct"])
def test_steps_beyond_all_sense_are_refused(name: str, steps: int) -> None:
    process = next(p for kind, p in PROCESSES.items() if kind in SAMPLERS[name].families)
    with pytest.raises(UsageError, match="steps must be at most 1000000"):
        sampler(name, {"steps": steps}).check(process)


@pytest.mark.parametrize("value", [10**400, float("inf"), float("nan"), 0, -1.0, "1"])
def test_a_measure_is_a_finite_number_above_0(value: object) -> None:
    with pytest.raises(UsageError, match="finite and above 0"):
        check_positive("snr", value)
