"""Checkpoints: a folder of safetensors and one JSON file that appears whole or not at all.

RUN/checkpoint-00001000/ holds weights, their moving average, Adam's moments, what else the method has (a critic, a loss
scaler), and state.json with the step, the recipe and the sha256 of the others. Nothing is pickled. Order, noise and
augmentation are functions of (seed, step), so no generator's state is kept.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import mrct_runtime
from mrct_runtime.digests import file_sha256
from mrct_runtime.errors import BundleError, NoInputError, OutputError, UsageError
from mrct_runtime.output_folder import OutputFolder, not_writable
from mrct_runtime.process import Direct
from mrct_train.config import TrainConfig, load_config
from mrct_train.data import DataSummary
from mrct_train.network import DirectNetwork, Network, Residual

WEIGHTS: Final = "weights.safetensors"
EMA: Final = "ema.safetensors"
OPTIMIZER: Final = "optimizer.safetensors"
STATE: Final = "state.json"
_NAME: Final = re.compile(r"checkpoint-(\d{8})")
_EXTRA: Final = re.compile(r"([a-z_]+)\.safetensors")


@dataclass(frozen=True)
class Progress:
    """Where a run stands after `step` steps: the terms summed since the epoch began, and the seconds trained."""

    step: int
    loss_sum: float = 0.0
    loss_count: int = 0
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    last_loss: float = math.inf
    """The mean training loss of the last complete epoch."""
    first_loss: float | None = None
    """The mean training loss of the first epoch; of the first after a resume where an older version began the run."""
    term_sums: Mapping[str, float] = field(default_factory=dict)
    """The sums of the method's other terms."""
    losses: tuple[float, ...] = ()
    """The mean training losses of the last epochs, as many as the plateau looks at."""
    plateau: bool = False
    """True where the run ended at a plateau of its loss."""

    def __post_init__(self) -> None:
        if self.step < 0 or self.loss_count < 0:
            raise ValueError(f"no run has {self.step} steps and {self.loss_count} losses")

    @property
    def loss(self) -> float:
        """The mean training loss of the last complete epoch, or of the steps so far where there is none."""
        if math.isfinite(self.last_loss) or not self.loss_count:
            return self.last_loss
        return self.loss_sum / self.loss_count


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Everything that a run needs to go on."""

    config: TrainConfig
    data: DataSummary
    progress: Progress
    weights: Mapping[str, Tensor]
    ema: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    extra: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    """What else the method has, by a name of small letters."""


def build_network(config: TrainConfig, data: DataSummary) -> Network | DirectNetwork:
    """The recipe's network with fresh weights, on PyTorch's default generator."""
    process = config.process
    if isinstance(process, Direct):
        return DirectNetwork(config.unet)
    match config.preconditioning:
        case "none":
            residual = None
        case "residual":
            residual = Residual(data.mean, data.deviation)
    return Network(config.unet, process, residual)


def load_network(
    path: Path, *, ema: bool = True
) -> tuple[Network | DirectNetwork, TrainConfig, dict[str, Any]]:
    """The trained network in evaluation mode, its recipe, and where it comes from, of a run or checkpoint folder."""
    folder = path if (path / STATE).is_file() else latest(path)
    if folder is None:
        raise NoInputError(f"{path}: no checkpoint here; name the OUT folder of mrct-train")
    saved = load(folder)
    network = build_network(saved.config, saved.data)
    try:
        network.load_state_dict(dict(saved.ema if ema else saved.weights))
    except RuntimeError as error:
        raise BundleError(f"{folder}: the weights are not those of its recipe") from error
    provenance = {
        "method": saved.config.method,
        "recipe": saved.config.name,
        "data": saved.config.data,
        "subjects": saved.data.subjects,
        "slices": saved.data.slices,
        "fingerprint": saved.data.fingerprint,
        "subjects_sha256": saved.data.digests,
        "seen": saved.data.seen,
        "mean": saved.data.mean,
        "deviation": saved.data.deviation,
        "epochs": saved.progress.step * saved.config.batch // saved.data.slices,
        "steps": saved.progress.step,
        "seed": saved.config.seed,
        "loss": saved.progress.loss,
        "seconds": saved.progress.seconds,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "checkpoint": file_sha256(folder / (EMA if ema else WEIGHTS)),
        "version": mrct_runtime.__version__,
    }
    return network.eval(), saved.config, provenance


def latest(run: Path, report: Callable[[str], None] = lambda _: None) -> Path | None:
    """The newest complete checkpoint folder of a run; torsos of an interrupted write are told and passed over."""
    found: dict[int, Path] = {}
    for path in sorted(run.glob("*checkpoint-*")) if run.is_dir() else []:
        match = _NAME.fullmatch(path.name)
        if match and (path / STATE).is_file():
            found[int(match[1])] = path
        else:
            report(f"{path.name} is an incomplete checkpoint and is ignored")
    return found[max(found)] if found else None


def save(checkpoint: Checkpoint, run: Path) -> Path:
    """The new checkpoint folder; older ones and torsos are removed once it is on the disk."""
    target = run / f"checkpoint-{checkpoint.progress.step:08d}"
    groups = {WEIGHTS: checkpoint.weights, EMA: checkpoint.ema, OPTIMIZER: checkpoint.optimizer}
    groups |= {f"{name}.safetensors": group for name, group in checkpoint.extra.items()}
    size = sum(t.numel() * t.element_size() for group in groups.values() for t in group.values())
    if not (target / STATE).is_file():
        shutil.rmtree(target, ignore_errors=True)  # a torso
    with OutputFolder.claim(target, replaces=STATE, needed_bytes=size + 1_000_000) as output:
        try:
            _write(checkpoint, groups, output.partial)
        except OSError as error:
            raise not_writable(target, error) from error
        except SafetensorError as error:
            raise OutputError(f"{target} cannot be written: {error}; is the disk full?") from error
        output.commit()
    for path in run.glob("*checkpoint-*"):
        if path != target:
            shutil.rmtree(path, ignore_errors=True)
    return target


def _write(
    checkpoint: Checkpoint, groups: Mapping[str, Mapping[str, Tensor]], folder: Path
) -> None:
    """Write the files of a checkpoint into a folder."""
    for name, group in groups.items():
        save_file({key: tensor.contiguous() for key, tensor in group.items()}, folder / name)
    state = {
        "recipe": checkpoint.config.dumps(),
        "data": _record(checkpoint.data),
        "progress": asdict(checkpoint.progress),
        "files": {name: file_sha256(folder / name) for name in groups},
    }
    (folder / STATE).write_text(json.dumps(state, indent=1) + "\n", "utf-8")


def load(folder: Path) -> Checkpoint:
    """The checkpoint in a folder, its files compared with their digests first."""
    try:
        state = _State.model_validate_json((folder / STATE).read_bytes())
        extra = _extra(state.files)
        for name in (WEIGHTS, EMA, OPTIMIZER, *extra.values()):
            if file_sha256(folder / name) != state.files[name]:
                raise BundleError(
                    f"{folder.name}/{name} has changed since it was written; remove {folder.name}"
                )
        return Checkpoint(
            config=load_config(state.recipe, f"{folder.name}/{STATE}"),
            data=state.data,
            progress=state.progress,
            weights=load_file(folder / WEIGHTS),
            ema=load_file(folder / EMA),
            optimizer=load_file(folder / OPTIMIZER),
            extra={name: load_file(folder / file) for name, file in extra.items()},
        )
    except (OSError, ValueError, KeyError, SafetensorError, UsageError) as error:
        raise BundleError(
            f"{folder.name} is not a checkpoint of this version: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in fault['loc']) or STATE}: {fault['msg']}"


def _record(data: DataSummary) -> dict[str, Any]:
    seen = data.seen
    return asdict(data) | {"seen": None if seen is None else seen.model_dump(mode="json")}


class _State(BaseModel):
    """What state.json holds; `seen`, `losses` and `term_sums` are younger than some checkpoints."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    recipe: str
    data: DataSummary
    progress: Progress
    files: dict[str, str]

    @field_validator("data")
    @classmethod
    def _are_data(cls, data: DataSummary) -> DataSummary:
        if data.subjects < 0 or data.slices < 1:
            raise ValueError(
                f"nothing is trained on {data.slices} slices of {data.subjects} subjects"
            )
        if not (math.isfinite(data.mean) and math.isfinite(data.deviation)):
            raise ValueError(f"no CT has the mean {data.mean} and the deviation {data.deviation}")
        return data


def _extra(files: Mapping[str, str]) -> dict[str, str]:
    """The files besides those of every checkpoint, by the names of their groups."""
    names = {}
    for file in sorted(files.keys() - {WEIGHTS, EMA, OPTIMIZER}):
        match = _EXTRA.fullmatch(file)
        if match is None:
            raise ValueError(f"{file!r} is no file of a checkpoint")
        names[match[1]] = file
    return names
