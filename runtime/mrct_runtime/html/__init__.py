"""Pages that are one file each: a frame and style that all reports share, images inside, no network and no script."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jinja2 import Template

FRAME: Final = "frame.html.jinja"
"""What a page's template extends."""


def render(package: str, template: str, content: Mapping[str, Any]) -> str:
    """The page that a package's template makes of the content, whose every text is escaped."""
    return _compiled(package, template).render(content)


@cache
def _compiled(package: str, template: str) -> Template:
    """The template; its compilation takes longer than a page does, and many studies have one each."""
    # jinja2 takes a quarter of a second to import
    import jinja2

    def source(name: str) -> str:
        home = __package__ if name == FRAME else package
        return resources.files(home).joinpath(name).read_text("utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template)


def embedded(png: bytes) -> str:
    """A data URL of a PNG."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
