"""Command lines: lists with commas in them, and a record of one without what may name a patient."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import click
from click.core import ParameterSource

from mrct_cli.sampler_flags import chosen


def anonymous(
    context: click.Context, placeholders: Mapping[str, str], without: Collection[str] = ()
) -> list[str]:
    """Its words, with placeholders for the values of these parameters, and `without` others."""
    values = context.params | chosen(context)
    words = context.command_path.split()
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in without:
            continue
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            words += _words(parameter, placeholders.get(name, values.get(name)))
    return words


def _words(parameter: click.Parameter, value: object) -> Iterator[str]:
    """A parameter as it is typed: an argument's value, a flag's name, an option's name and value."""
    if isinstance(parameter, click.Option):
        yield (parameter.secondary_opts if value is False else parameter.opts)[0]
        if parameter.is_flag:
            return
    match value:
        case list():
            yield ",".join(map(str, value))
        case tuple():
            yield from map(str, value)
        case _:
            yield str(value)


def words(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[str]:
    """The words of a list with commas."""
    return [word.strip() for word in (value or "").split(",") if word.strip()]
