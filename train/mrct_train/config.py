"""The recipe of a training run: one frozen value, read from TOML, saved in resolved form.

The defaults are the paper's. Importing this module loads no torch.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from mrct_runtime.errors import UsageError
from mrct_runtime.intensity import HuWindow, MrNormalisation
from mrct_runtime.process import DDPM, VESDE

Positive: TypeAlias = Annotated[float, Field(gt=0)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Count: TypeAlias = Annotated[int, Field(ge=1)]
Text: TypeAlias = Annotated[str, Field(min_length=1)]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UNetConfig(_Value):
    """The structure of the UNet; the defaults are the authors', 26.12 M parameters."""

    base: Count = 64
    """Channels of the first level."""
    multipliers: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 2, 2, 4, 4)
    """Channels of each level as multiples of `base`; every level after the first halves the image."""
    blocks: Count = 2
    """Residual blocks a level on the way down; one more on the way up."""
    groups: Count = 32
    """Groups of every GroupNorm, fewer where the channels are too few."""
    embedding: Annotated[int, Field(ge=2, multiple_of=2)] = 256
    """Fourier features of t."""
    fourier_scale: Positive = 30.0
    """Deviation of their frequencies. 30 tells a thousand levels apart; a small net learns faster from 1 or 2."""

    @property
    def multiple(self) -> int:
        """What height and width must be a multiple of: 2 to the number of halvings."""
        return int(2 ** (len(self.multipliers) - 1))


class Domain(_Value):
    """The images that the network may be given later."""

    modality: Text = "MR"
    sequence: Text = "T2w TSE"
    anatomy: Text = "male pelvis"


class TrainConfig(_Value):
    """A recipe. Lengths of images are in pixels of `spacing_mm`; `steps` are optimiser steps."""

    name: Text = "unnamed"
    """What the recipe is called in the model's manifest."""
    method: Literal["ddpm", "sde"] = "ddpm"
    ddpm: DDPM = DDPM()
    """The noise process of method "ddpm"."""
    sde: VESDE = VESDE()
    """The noise process of method "sde"."""
    unet: UNetConfig = UNetConfig()
    preconditioning: Literal["none", "residual"] = "none"
    """"none" is the paper's net; "residual" learns faster, see network.py."""

    weighting: Literal["simple", "unit"] = "simple"
    """"simple" is L_simple and lambda = std^2; "unit" weighs all times alike in units of the image, see loss.py."""

    size: Count = 512
    spacing_mm: Positive = 0.875
    """0.875 mm is Gold Atlas's, the paper's data."""
    mr_normalisation: MrNormalisation = MrNormalisation()
    hu_window: HuWindow = HuWindow()
    augmentation: Literal["none", "mirror", "authors"] = "none"
    """"mirror": left and right exchanged half of the time; "authors": also quarter turns and top with bottom."""

    batch: Count = 2
    epochs: Count = 100
    steps: Count | None = None
    """Optimiser steps; takes the place of `epochs`."""
    learning_rate: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    adam_eps: Positive = 1e-8
    schedule: Literal["constant", "cosine"] = "constant"
    """"cosine" falls to zero at the last step."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    grad_clip: Positive = 1.0
    """The largest norm of the gradient; inf switches clipping off."""
    ema: Fraction = 0.9999
    stratified: bool = False
    """Spread the times of a batch evenly: the same loss in expectation, less noise."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    validation_subjects: Annotated[int, Field(ge=0)] = 0
    """Training subjects set aside, whose loss stands in log.csv."""
    data: Text = "unnamed"
    """What the data are, in one line; goes into the model card."""
    licence: Text = "unknown"
    """Under which licence the weights may be used."""
    domain: Domain = Domain()

    @model_validator(mode="after")
    def _fits(self) -> TrainConfig:
        if self.weighting == "unit" and self.preconditioning != "residual":
            raise ValueError('weighting "unit" is for preconditioning "residual"')
        for name, value in _flat(self.model_dump()):
            unbounded = name == "grad_clip" and value == math.inf
            if isinstance(value, float) and not math.isfinite(value) and not unbounded:
                raise ValueError(f"{name} must be finite, got {value}")
        if self.size % self.unet.multiple:
            raise ValueError(
                f"size {self.size} is not a multiple of {self.unet.multiple}, which a UNet of "
                f"{len(self.unet.multipliers)} levels needs"
            )
        return self

    @property
    def process(self) -> DDPM | VESDE:
        """The noise process of the method."""
        return self.ddpm if self.method == "ddpm" else self.sde

    def total_steps(self, slices: int) -> int:
        """`steps`, or the optimiser steps that `epochs` over so many slices take."""
        return self.steps or -(-self.epochs * slices // self.batch)

    def dumps(self) -> str:
        """The recipe as TOML, every field of it."""
        content: dict[str, Any] = self.model_dump(mode="python", exclude_none=True)
        return "\n".join(_toml(content)) + "\n"

    def differences(self, other: TrainConfig) -> list[str]:
        """The dotted names of the fields in which two recipes differ."""
        mine, others = dict(_flat(self.model_dump())), dict(_flat(other.model_dump()))
        return sorted(
            name for name in mine.keys() | others.keys() if mine.get(name) != others.get(name)
        )


def load_config(
    text: str, source: str, overrides: Mapping[str, object] | None = None
) -> TrainConfig:
    """The recipe in a TOML text; `overrides` are top-level fields that take precedence, None meaning none;
    `epochs` among them takes the place of the recipe's `steps`.

    A UsageError names `source` and the first field that is unknown or out of range.
    """
    try:
        content: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source}: not TOML: {error}") from error
    chosen = {name: value for name, value in (overrides or {}).items() if value is not None}
    if "epochs" in chosen:
        content.pop("steps", None)
    content |= chosen
    return validated(content, source)


def read_config(path: Path, overrides: Mapping[str, object] | None = None) -> TrainConfig:
    """The recipe in a TOML file."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"{path.name}: cannot read this recipe: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path.name}: not TOML: byte {error.start} is not UTF-8; save it as UTF-8"
        ) from error
    return load_config(text, path.name, overrides)


def validated(content: Mapping[str, Any], source: str) -> TrainConfig:
    """The recipe with these fields, or a UsageError that names the first faulty one."""
    try:
        return TypeAdapter(TrainConfig).validate_python(dict(content))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in fault["loc"]) or "recipe"
        if fault["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
            raise UsageError(f"{source}: unknown key {place!r}") from error
        message = str(fault["msg"]).removeprefix("Value error, ")
        met = "" if place == "recipe" else f", got {fault['input']!r}"
        raise UsageError(f"{source}: {place}: {message}{met}") from error


def _toml(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Lines of TOML: the plain keys first, then a section for every inner table."""
    for name, value in table.items():
        if not isinstance(value, Mapping):
            yield f"{name} = {_toml_value(value)}"
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield f"\n[{prefix}{name}]"
            yield from _toml(value, f"{prefix}{name}.")


def _toml_value(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case list() | tuple():
            return f"[{', '.join(_toml_value(item) for item in value)}]"
        case _:
            return json.dumps(str(value), ensure_ascii=False)


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
