from __future__ import annotations

import pytest

from mrct_runtime.errors import UsageError
from mrct_runtime.samplers import RECIPES, SAMPLERS, recipe, sampler


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_counts_its_steps_in_evaluations(name: str) -> None:
    assert sampler(name, {"steps": 100}).evaluations == 100


@pytest.mark.parametrize("recipe_name", list(RECIPES))
@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_recipe_builds_every_sampler(recipe_name: str, name: str) -> None:
    options = recipe(recipe_name, name)
    assert sampler(name, options).steps == options["steps"]


def test_the_papers_recipe_is_a_thousand_evaluations() -> None:
    for name in ("ddpm", "em", "pc"):
        assert sampler(name, recipe("paper", name)).evaluations == 1000


def test_an_unknown_name_or_option_is_named_with_what_there_is() -> None:
    with pytest.raises(UsageError, match="unknown sampler 'heun'; choose from ddpm, em, pc, ode"):
        sampler("heun")
    with pytest.raises(UsageError, match="sampler em has no option snr; it has allow_residual"):
        sampler("em", {"snr": 0.1})
    with pytest.raises(UsageError, match="unknown recipe 'mine'; choose from paper, authors"):
        recipe("mine", "em")


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_no_steps_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="got 0"):
        sampler(name, {"steps": 0})
