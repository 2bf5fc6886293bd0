"""--mc: a number of samples, or the fewest and the most of them."""

from __future__ import annotations

import re

import click


def samples(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> int | tuple[int, int] | None:
    """An int of `10`, and (4, 32) of `4..32`; a usage error for anything else."""
    if text is None:
        return None
    met = re.fullmatch(r"(\d{1,12})(?:\.\.(\d{1,12}))?", text, re.ASCII)
    if met is None:
        raise click.BadParameter(
            f"{text[:40]!r} is neither a number of samples nor two of them, such as 4..32"
        )
    least, most = met.groups()
    return int(least) if most is None else (int(least), int(most))
