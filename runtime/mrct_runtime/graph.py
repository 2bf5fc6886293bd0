"""The two graphs that a bundle may hold: one evaluation of a noise network, or a direct network.

A new parametrisation is one line in GRAPHS; export, manifest, self-test and engines take names and shapes from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from mrct_runtime.process import Direct, Process

Parametrisation: TypeAlias = Literal["eps", "image"]
"""What a network gives: the noise in x at t, or the image at once."""

BATCH: Final = "batch"


class Tensor(BaseModel):
    """An input or output of the graph; a named dimension is dynamic."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(min_length=1)]
    dtype: Literal["float32"]
    shape: tuple[int | str, ...]


class GraphForm(NamedTuple):
    """The inputs of a graph, in order, and its one output."""

    inputs: tuple[Tensor, ...]
    output: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        """Those of the inputs, then that of the output."""
        return (*(tensor.name for tensor in self.inputs), self.output.name)


def _images(name: str) -> Tensor:
    return Tensor(name=name, dtype="float32", shape=(BATCH, 1, "height", "width"))


_TIMES: Final = Tensor(name="t", dtype="float32", shape=(BATCH,))

GRAPHS: Final[Mapping[Parametrisation, GraphForm]] = MappingProxyType(
    {
        "eps": GraphForm((_images("x"), _images("y"), _TIMES), _images("eps")),
        "image": GraphForm((_images("y"),), _images("x0")),
    }
)
"""eps(x, y, t) and x0(y)."""


def parametrisation(process: Process) -> Parametrisation:
    """What the network of a process gives."""
    return "image" if isinstance(process, Direct) else "eps"
