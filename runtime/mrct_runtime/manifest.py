"""The manifest of a bundle: what a network is, what it was trained on, how it may be sampled.

No field has a default: a default that changes later would change the meaning of bundles already written. The text
of bundle.json is canonical, so that any edit of it is seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from mrct_runtime.appearance import Seen
from mrct_runtime.errors import BundleError, UsageError
from mrct_runtime.evaluation.recalibration import Recalibration
from mrct_runtime.graph import GRAPHS, Parametrisation, Tensor, parametrisation
from mrct_runtime.intensity import HuWindow, MrNormalisation
from mrct_runtime.process import DDPM, VESDE, Direct, Process
from mrct_runtime.structured_text import from_json

SCHEMA_VERSION: Final = 3
"""The one version of the manifest that this program reads and writes."""

PROCESSES: Final[Mapping[str, type[DDPM | VESDE | Direct]]] = MappingProxyType(
    {"ddpm": DDPM, "ve-sde": VESDE, "direct": Direct}
)
"""The noise processes that a manifest can name."""

Method: TypeAlias = Literal["ddpm", "sde", "cnn", "wgan-gp"]
"""How a network was trained."""
_PROCESS_OF: Final[Mapping[Method, str]] = MappingProxyType(
    {"ddpm": "ddpm", "sde": "ve-sde", "cnn": "direct", "wgan-gp": "direct"}
)

RETUNED: Final = frozenset({"presets", "sampler", "uncertainty"})
"""What may change after the export."""
NOT_IN_THE_GRAPH: Final = RETUNED | {"files", "seen"}
"""What the copy inside model.onnx leaves out; `files` holds that file's own hash, and bundles are older than `seen`."""

Text: TypeAlias = Annotated[str, Field(min_length=1)]
Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Option: TypeAlias = bool | int | float | str


class _Value(BaseModel):
    """A frozen record that takes exactly its fields, in exactly their types, without NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ProcessSpec(_Value):
    """A noise process by its registered kind and its parameters."""

    kind: str
    parameters: dict[str, int | float]

    @model_validator(mode="after")
    def _is_complete(self) -> ProcessSpec:
        if self.kind not in PROCESSES:
            raise ValueError(f"unknown process {self.kind!r}; known: {', '.join(PROCESSES)}")
        if asdict(self.build()) != self.parameters:
            raise ValueError(f"the process {self.kind!r} lacks parameters")
        return self

    def build(self) -> DDPM | VESDE | Direct:
        """The process itself."""
        # From JSON, because strictness in Python would ask for a process to make a process.
        text = json.dumps(self.parameters)
        return TypeAdapter(PROCESSES[self.kind]).validate_json(text, strict=True)

    @classmethod
    def of(cls, process: Process) -> ProcessSpec:
        """The record that builds `process` again."""
        for kind, type_ in PROCESSES.items():
            if isinstance(process, type_):
                return cls(kind=kind, parameters=asdict(process))
        raise UsageError(f"a bundle cannot name the process {process!r}; register it in PROCESSES")


class Image(_Value):
    """The in-plane grid that the network was trained on: size x size pixels of spacing_mm."""

    size: Annotated[int, Field(ge=1, le=8192)]
    spacing_mm: Annotated[float, Field(gt=0)]
    multiple: Annotated[int, Field(ge=1)]
    """Height and width are multiples of this, 2 to the number of halvings."""

    @model_validator(mode="after")
    def _fits(self) -> Image:
        if self.size % self.multiple:
            raise ValueError(f"the size {self.size} is not a multiple of {self.multiple}")
        return self


class Parity(_Value):
    """The largest differences of ONNX Runtime from PyTorch over all cases, and what they were measured on."""

    relative_rms: Annotated[float, Field(ge=0)]
    """RMS of the difference over RMS of the reference, of one sample."""
    relative_max: Annotated[float, Field(ge=0)]
    """Largest difference of one pixel over RMS of the reference."""
    response: Annotated[float, Field(ge=0)]
    """Relative RMS change of the output when the MR changes: far above the differences, or they would say nothing."""
    times: tuple[float, ...]
    batches: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    reference: Text
    engine: Text


class SelfTest(_Value):
    """What an engine has to reproduce golden.npz to, before it may sample."""

    relative_rms: Annotated[float, Field(gt=0)]


class Sampled(_Value):
    """How far one sampler's images of the two precisions lie apart, with the same noise, inside the body."""

    evaluations: Annotated[int, Field(ge=1)]
    """Those that were compared: a preset of fixed length is shortened to 100."""
    difference_hu: Annotated[float, Field(ge=0)]
    """Mean absolute difference of a sample, over all slices."""
    limit_hu: Annotated[float, Field(gt=0)]
    """The standard error of the mean of ten samples; of a direct network 1 HU."""


class Half(_Value):
    """The network in mixed precision (model.fp16.onnx): what of it is in float32, and what was measured of it.

    `margins` are 65504, the largest float16, over the largest magnitude that met a convolution on the trajectories of
    every sampler. `relative_rms` is the largest difference of a call from float32 at any of `times`, with every value
    rounded that half would round.
    """

    kept: tuple[Text, ...]
    """The convolutions in float32."""
    margins: dict[Text, Annotated[float, Field(gt=0)]]
    relative_rms: Annotated[float, Field(ge=0)]
    times: tuple[float, ...]
    sampled: dict[Text, Sampled]
    slices: Text
    """What the samples were drawn for."""
    self_test: SelfTest


class Training(_Value):
    """Where the weights come from."""

    method: Method
    recipe: Text
    data: Text
    fingerprint: Text
    """sha256 of the training slices."""
    subjects_sha256: tuple[Sha256, ...]
    """sha256 of each subject's slices, by which an evaluation knows them again; none where they are not known."""
    subjects: Annotated[int, Field(ge=0)]
    slices: Annotated[int, Field(ge=0)]
    mean: float
    """Of the CT in [0, 1]."""
    deviation: Annotated[float, Field(ge=0)]
    epochs: Annotated[int, Field(ge=0)]
    steps: Annotated[int, Field(ge=0)]
    seed: int
    loss: float
    seconds: Annotated[float, Field(ge=0)]
    parameters: Annotated[int, Field(ge=0)]
    checkpoint: Sha256
    """Digest of the weights file."""
    version: Text
    """Of mrct."""


class Domain(_Value):
    """The images that the network may be given."""

    modality: Text
    sequence: Text
    anatomy: Text


class Manifest(_Value):
    """Everything that a bundle says about itself (bundle.json)."""

    schema_version: Literal[3]
    name: FileName
    process: ProcessSpec
    parametrisation: Parametrisation
    image: Image
    mr_normalisation: MrNormalisation
    hu_window: HuWindow
    prior_mean: float
    presets: dict[str, dict[str, Option]]
    sampler: Text | None = None
    """The one that is taken where none is named; None for the first that has a preset."""
    uncertainty: dict[str, Recalibration]
    """Sampler -> what its deviation is recalibrated with."""
    opset: Annotated[int, Field(ge=1)]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    parity: Parity
    self_test: SelfTest
    half: Half | None
    """None where the bundle has the network in float32 alone."""
    training: Training
    domain: Domain
    seen: Seen | None = None
    """How the MR of the training looked; None where that is not known."""
    licence: Text
    notice: Text
    files: dict[FileName, Sha256]

    @model_validator(mode="after")
    def _agrees(self) -> Manifest:
        process, gives = self.process, parametrisation(self.process.build())
        if _PROCESS_OF[self.training.method] != process.kind:
            raise ValueError(
                f"training.method {self.training.method!r} makes no network of the process {process.kind!r}"
            )
        if self.parametrisation != gives:
            raise ValueError(
                f"parametrisation {self.parametrisation!r} does not fit the process {process.kind!r}"
            )
        form = GRAPHS[gives]
        if (self.inputs, self.outputs) != (form.inputs, (form.output,)):
            raise ValueError(
                f"inputs and outputs must be float32 and named {', '.join(form.names)}"
            )
        return self

    def dumps(self) -> str:
        """The canonical text of bundle.json: sorted keys, one a line, shortest floats."""
        content = self.model_dump(mode="json")
        if "sampler" not in self.model_fields_set:
            # bundles are older than this key
            del content["sampler"]
        if self.seen is None:
            del content["seen"]
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"

    def graph_text(self) -> str:
        """The text that model.onnx carries in its metadata, which binds the graph to this manifest."""
        content = self.model_dump(mode="json", exclude=set(NOT_IN_THE_GRAPH))
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def loads(cls, text: bytes, source: str) -> Manifest:
        """The manifest in `text`, or a BundleError that names `source` and the first fault."""
        version = _schema_version(text, source)
        if version != SCHEMA_VERSION:
            raise BundleError(
                f"{source}: schema_version is {version!r}, this mrct reads {SCHEMA_VERSION}; "
                "export the bundle again or use the mrct that wrote it"
            )
        try:
            manifest = cls.model_validate_json(text)
        except ValidationError as error:
            raise BundleError(f"{source}: {_first_fault(error)}") from error
        except UsageError as error:  # a value class refused its own numbers
            raise BundleError(f"{source}: {error}") from error
        if manifest.dumps().encode() != text:
            raise BundleError(
                f"{source}: not as mrct writes it, so it was edited by hand; export the bundle again"
            )
        return manifest


def _schema_version(text: bytes, source: str) -> Any:
    try:
        content = from_json(text)
    except ValueError as error:
        reason = str(error).replace("\n", " ")
        raise BundleError(f"{source}: not JSON: {reason}") from error
    if not isinstance(content, dict):
        raise BundleError(f"{source}: holds a {type(content).__name__}, not an object")
    return content.get("schema_version")


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    message = str(fault["msg"]).removeprefix("Value error, ").replace("\n", " ")
    match fault["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"unknown key {place!r}"
        case "missing" | "missing_argument":
            return f"the key {place!r} is missing"
        case _:
            met = repr(fault["input"])
            met = met if len(met) <= 60 else met[:57] + "..."
            return f"{place}: {message}, got {met}"
