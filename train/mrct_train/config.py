"""The recipe of a training run: one frozen value, read from TOML or YAML, saved in resolved form.

The defaults are the paper's. Importing this module loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from mrct_runtime.errors import UsageError
from mrct_runtime.intensity import HuWindow, MrNormalisation
from mrct_runtime.manifest import Image
from mrct_runtime.paired import VIEWS, Preparation, View
from mrct_runtime.process import DDPM, VESDE, Direct
from mrct_runtime.structured_text import shown
from mrct_train.recipe_text import READERS, from_toml, to_toml

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
    stem: Literal[1, 2, 4] = 1
    """Pixels along a side of a patch: the whole net works at 1 / `stem` of the resolution. 1 is the paper's."""
    attention_heads: Annotated[int, Field(ge=0)] = 0
    """Heads of self-attention at the lowest level; 0, as in the paper, for none. 32 to 64 channels a head serve well."""

    @model_validator(mode="after")
    def _divides(self) -> UNetConfig:
        lowest = self.base * self.multipliers[-1]
        if self.attention_heads and lowest % self.attention_heads:
            raise ValueError(
                f"attention_heads {self.attention_heads} does not divide the {lowest} channels of the lowest level"
            )
        return self

    @property
    def multiple(self) -> int:
        """What height and width must be a multiple of: the stem's patch, and 2 to the number of halvings after it."""
        return int(self.stem * 2 ** (len(self.multipliers) - 1))


class Domain(_Value):
    """The images that the network may be given later."""

    modality: Text = "MR"
    sequence: Text = "T2w TSE"
    anatomy: Text = "male pelvis"


class Augmentation(_Value):
    """Random changes of a training pair, the same for MR and CT but for the MR's intensity; all off by default."""

    mirror: bool = False
    """Left and right exchanged half of the time."""
    turns: bool = False
    """The authors': a quarter turn half of the time, top and bottom exchanged half of the time."""
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    """The largest turn about the centre, either way, uniformly drawn."""
    shift_mm: Annotated[float, Field(ge=0)] = 0.0
    """The largest shift along either axis, uniformly drawn."""
    intensity: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The MR y becomes gain y^gamma, both drawn from 1 - intensity to 1 + intensity, cut to [0, 1]."""


class Plateau(_Value):
    """When training ends: the epoch's loss has not dropped by `drop` against the mean of the `epochs` before it."""

    drop: Annotated[float, Field(gt=0, lt=1)] = 0.01
    epochs: Count = 20


class Critic(_Value):
    """Method "wgan-gp": the critic's structure and its part in the loss; see adversarial.py."""

    base: Count = 32
    """Channels of its first level; doubled on each of the others."""
    levels: Count = 4
    """Levels, every one of which halves the image."""
    steps: Count = 5
    """Updates of the critic for one of the generator (Gulrajani et al. 2017)."""
    gradient_penalty: Positive = 10.0
    weight: Positive = 1e-2
    """The weight of the Wasserstein term beside the mean squared error."""


class TrainConfig(_Value):
    """A recipe. Lengths of images are in pixels of `spacing_mm`; `steps` are optimiser steps."""

    name: Text = "unnamed"
    """What the recipe is called in the model's manifest."""
    method: Literal["ddpm", "sde", "cnn", "wgan-gp"] = "ddpm"
    ddpm: DDPM = DDPM()
    """The noise process of method "ddpm"."""
    sde: VESDE = VESDE()
    """The noise process of method "sde"."""
    critic: Critic = Critic()
    """The opponent of method "wgan-gp"."""
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
    outside: Literal["keep", "air"] = "keep"
    """"air": the CT is -1024 HU outside the body, so that no couch or frame is learnt, which no MR shows."""
    augmentation: Augmentation = Augmentation()

    batch: Count = 2
    """Images an optimiser step, over all devices: their number changes nothing but time and memory."""
    accumulate: Count = 1
    """Parts in which a device computes its share of a batch, one after the other, to save memory."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the network's layers in training; weights, losses and optimiser stay fp32."""
    epochs: Count = 100
    """At least so many; then training ends at the plateau."""
    plateau: Plateau = Plateau()
    most_epochs: Count = 1000
    """At most so many, where the plateau does not come; the same as `epochs` for an exact number."""
    steps: Count | None = None
    """Optimiser steps; takes the place of the rules for epochs."""
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
    """Spread the times of a batch evenly: the same loss in expectation, less noise. For noise models."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    subjects: Text = "*"
    """Pattern (*, ?, [...]) of the names of the subjects to use; the others are never read."""
    views: tuple[View, ...] = VIEWS
    """Which pictures of a subject to use, where a data set has several."""
    validation_subjects: Annotated[int, Field(ge=0)] = 0
    """Subjects set aside, drawn by the seed, whose loss stands in log.csv."""
    test_subjects: Annotated[int, Field(ge=0)] = 0
    """Subjects set aside, drawn by the seed, that no part of training sees; not counting those in DATA/test."""
    sample_epochs: Annotated[int, Field(ge=0)] = 10
    """Every so many epochs a picture of translated validation slices is made; 0 for none."""
    data: Text = "unnamed"
    """What the data are, in one line; goes into the model card."""
    licence: Text = "unknown"
    """Under which licence the weights may be used."""
    domain: Domain = Domain()

    @model_validator(mode="after")
    def _fits(self) -> TrainConfig:
        if self.method in {"cnn", "wgan-gp"} and self.preconditioning != "none":
            raise ValueError(
                f'preconditioning is for noise models; method "{self.method}" has none'
            )
        if self.method in {"cnn", "wgan-gp"} and self.stratified:
            raise ValueError(
                f'stratified is for noise models; method "{self.method}" draws no times'
            )
        if self.epochs > self.most_epochs:
            raise ValueError(f"epochs {self.epochs} is more than most_epochs {self.most_epochs}")
        if self.schedule == "cosine" and not self.steps and self.epochs != self.most_epochs:
            raise ValueError(
                'schedule "cosine" needs to know the end: set steps, or most_epochs equal to epochs'
            )
        if self.batch % self.accumulate:
            raise ValueError(
                f"batch {self.batch} is not a multiple of accumulate {self.accumulate}"
            )
        if self.weighting == "unit" and self.preconditioning != "residual":
            raise ValueError('weighting "unit" is for preconditioning "residual"')
        for name, value in _flat(self.model_dump()):
            unbounded = name == "grad_clip" and value == math.inf
            if isinstance(value, float) and not math.isfinite(value) and not unbounded:
                raise ValueError(f"{name} must be finite, got {value}")
        if self.size % self.unet.multiple:
            raise ValueError(
                f"size {self.size} is not a multiple of {self.unet.multiple}, which a UNet of "
                f"{len(self.unet.multipliers)} levels and stem {self.unet.stem} needs"
            )
        return self

    @property
    def process(self) -> DDPM | VESDE | Direct:
        """The noise process of the method; of a direct network the one without noise."""
        match self.method:
            case "ddpm":
                return self.ddpm
            case "sde":
                return self.sde
            case "cnn" | "wgan-gp":
                return Direct()

    @property
    def preparation(self) -> Preparation:
        """How slices are prepared, the same as at inference."""
        image = Image(size=self.size, spacing_mm=self.spacing_mm, multiple=self.unet.multiple)
        return Preparation(image, self.mr_normalisation)

    def total_steps(self, slices: int) -> int:
        """The most optimiser steps over so many slices: `steps`, or those of `most_epochs`."""
        return self.steps or -(-self.most_epochs * slices // self.batch)

    def dumps(self) -> str:
        """The recipe as TOML, every field of it."""
        content: dict[str, Any] = self.model_dump(mode="python", exclude_none=True)
        return to_toml(content)

    def differences(self, other: TrainConfig) -> list[str]:
        """The dotted names of the fields in which two recipes differ."""
        mine, others = dict(_flat(self.model_dump())), dict(_flat(other.model_dump()))
        return sorted(
            name for name in mine.keys() | others.keys() if mine.get(name) != others.get(name)
        )


def load_config(
    text: str, source: str, overrides: Mapping[str, object] | None = None
) -> TrainConfig:
    """The recipe in a TOML text; `overrides` as in `resolved`."""
    return resolved(from_toml(text, source), source, overrides)


def read_config(path: Path, overrides: Mapping[str, object] | None = None) -> TrainConfig:
    """The recipe in a TOML or YAML file; `overrides` as in `resolved`."""
    if path.suffix.lower() not in READERS:
        endings = ", ".join(READERS)
        raise UsageError(
            f"{path.name}: unknown kind of recipe; its name must end in one of {endings}"
        )
    read = READERS[path.suffix.lower()]
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"{path.name}: cannot read this recipe: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path.name}: not text: byte {error.start} is not UTF-8; save it as UTF-8"
        ) from error
    return resolved(read(text, path.name), path.name, overrides)


def resolved(
    content: Mapping[str, Any], source: str, overrides: Mapping[str, object] | None = None
) -> TrainConfig:
    """The recipe with these fields; `overrides` are top-level fields that take precedence, None meaning none;
    `epochs` among them takes the place of the recipe's `steps` and `most_epochs`.

    A UsageError names `source` and the first field that is unknown or out of range.
    """
    chosen = {name: value for name, value in (overrides or {}).items() if value is not None}
    fields = dict(content)
    if "epochs" in chosen:
        fields.pop("steps", None)
        chosen["most_epochs"] = chosen["epochs"]
    return validated(fields | chosen, source)


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
        met = "" if place == "recipe" else f", got {shown(fault['input'])}"
        raise UsageError(f"{source}: {place}: {message}{met}") from error


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
