"""Flags made from the fields of the samplers, so that a new sampler or option needs no line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from types import NoneType
from typing import Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

import click

from mrct_runtime.samplers import RECIPES, SAMPLERS

Command: TypeAlias = Callable[..., Any]

_CHOSEN = "mrct.sampler_options"
_OWN = "default"
# What a field's name and default do not say; a field that is not listed here gets its flag all the same.
_MEANINGS = {
    "steps": "Network evaluations a sample, or their upper limit for ode. For pc 1000 of them are 500 levels "
    "of one predictor and one corrector step. A bundle has presets; without one the sampler's own is taken",
    "grid": "Noise levels of ddim, dpmpp, heun and unipc: even in the seventh root of sigma, in its logarithm, or in t",
    "sigma_min": "Noise level at which ddim, dpmpp, heun and unipc take the denoised image, std / alpha",
    "eta": "Noise on the way: 0 none, 1 that of ancestral sampling (ddim) or of the SDE variant (dpmpp)",
    "eps": "Time at which sampling stops",
    "predictor": "Form of the predictor step",
    "correctors": "Langevin steps a level",
    "snr": "Langevin signal-to-noise ratio",
    "rtol": "Relative tolerance of a step",
    "atol": "Absolute tolerance of a step",
    "denoise": "Remove the noise that is left at eps",
    "variance": "Variance of a step",
    "clip_x0": "Hold the predicted image in the data range at every step",
    "allow_residual_noise": "Accept an eps that leaves noise in the image",
}


recipe_flag = click.option(
    "--recipe",
    type=click.Choice([_OWN, *RECIPES]),
    default=_OWN,
    show_default=True,
    help="The settings of the published paper, or of its authors' code, in place of the bundle's.",
)
"""--recipe of every command that samples; `published` has what it means."""


def published(recipe: str) -> str | None:
    """The published recipe that was asked for; None for the bundle's own settings."""
    return None if recipe == _OWN else recipe


def sampler_flags(command: Command) -> Command:
    """The command with one flag for each option of any sampler; `chosen` has those that were given."""
    flags: dict[str, dict[str, Field[Any]]] = {}
    for name, kind in SAMPLERS.items():
        for option in fields(kind):
            flags.setdefault(option.name, {})[name] = option
    for field_name, owners in reversed(flags.items()):
        command = _flag(field_name, owners)(command)
    return command


def served() -> str:
    """Each family of models with the samplers that serve it, in a line."""
    names: dict[str, list[str]] = {}
    for name, kind in SAMPLERS.items():
        for family in kind.families:
            names.setdefault(family.__name__, []).append(name)
    return "; ".join(f"{family}: {', '.join(found)}" for family, found in names.items())


def chosen(context: click.Context) -> dict[str, Any]:
    """The sampler options that were given on the command line; a sampler refuses those it has not."""
    options: dict[str, Any] = context.meta.get(_CHOSEN, {})
    return options


def _flag(name: str, owners: dict[str, Field[Any]]) -> Callable[[Command], Command]:
    word = name.replace("_", "-")
    kind = get_type_hints(SAMPLERS[next(iter(owners))])[name]
    declaration = f"--{word}/--no-{word}" if kind is bool else f"--{word}"
    return click.option(
        declaration,
        name,
        type=_click_type(kind),
        default=None,
        expose_value=False,
        callback=_remember,
        help=f"{_MEANINGS.get(name, name.replace('_', ' '))}. [{_defaults(owners)}]",
    )


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None and parameter.name is not None:
        context.meta.setdefault(_CHOSEN, {})[parameter.name] = value


def _click_type(kind: Any) -> Any:
    """What click parses: the choices of a Literal, else the type without its None."""
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    plain = [part for part in get_args(kind) if part is not NoneType]
    return plain[0] if plain else kind


def _defaults(owners: dict[str, Field[Any]]) -> str:
    """The samplers that have the option, each with its default, equal ones together."""
    names: dict[str, list[str]] = {}
    for owner, option in owners.items():
        default = "none" if option.default is MISSING else _shown(option.default)
        names.setdefault(default, []).append(owner)
    return "; ".join(f"{', '.join(group)}: {default}" for default, group in names.items())


def _shown(default: Any) -> str:
    if default is None:
        return "automatic"
    return {True: "on", False: "off"}[default] if isinstance(default, bool) else str(default)
