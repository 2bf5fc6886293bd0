"""mrct train: paired MR and CT in, a trained network out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mrct_cli.paths import PATH
from mrct_cli.training_display import training_display
from mrct_cli.verdict import ending, passed, unfinished

if TYPE_CHECKING:
    from mrct_train.config import TrainConfig
    from mrct_train.fit import Outcome

_METHODS = ("ddpm", "sde", "cnn", "wgan-gp")
_PRECISIONS = ("fp32", "bf16", "fp16")
_STRATEGIES = ("auto", "ddp", "fsdp")
_OF_THE_RECIPE = (
    "method",
    "steps",
    "epochs",
    "batch",
    "accumulate",
    "precision",
    "seed",
)
_LIMITS = ("threads", "max_minutes", "devices", "nodes", "strategy")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("data", type=PATH, metavar="DATA")
@click.argument("out", type=PATH, metavar="OUT")
@click.option("--config", type=PATH, metavar="FILE", help="Recipe, TOML or YAML. [the paper's]")
@click.option("--method", type=click.Choice(_METHODS), help="What is trained. [the recipe's]")
@click.option("--steps", type=int, help="Optimiser steps, exactly. [the recipe's]")
@click.option("--epochs", type=int, help="Epochs, exactly, in place of steps. [the recipe's]")
@click.option("--batch", type=int, help="Images a step, over all devices. [the recipe's]")
@click.option("--accumulate", type=int, help="Parts of a batch, to save memory. [the recipe's]")
@click.option("--precision", type=click.Choice(_PRECISIONS), help="Of the layers. [the recipe's]")
@click.option("--seed", type=int, help="Of weights, order and noise. [the recipe's]")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda or cuda:N; auto is a GPU where there is one.",
)
@click.option("--devices", type=int, help="Processes on this machine, one a device. [1]")
@click.option("--nodes", type=int, help="Machines, each under torchrun. [1]")
@click.option("--strategy", type=click.Choice(_STRATEGIES), help="Of several devices. [ddp]")
@click.option("--threads", type=int, help="CPU threads. [PyTorch's]")
@click.option(
    "--max-minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop after that time, save, and go on when called again.",
)
@click.option(
    "--cache",
    type=PATH,
    metavar="DIR",
    help="Prepared slices, which several runs may share. [OUT/cache]",
)
@click.pass_context
def train(
    context: click.Context,
    /,
    data: Path,
    out: Path,
    config: Path | None,
    device: str,
    cache: Path | None,
    **_others: object,
) -> None:
    """Train a network on the paired MR and CT in DATA; the run is kept in OUT.

    DATA holds a folder a subject, in the layouts that `mrct check` knows. Called again with the same OUT, training goes
    on where it stopped. OUT will hold checkpoints, config.toml, log.csv, log.jsonl and samples/.
    """
    recipe = _recipe(config, _given(context, _OF_THE_RECIPE))

    # PyTorch takes seconds to import, which --help and a faulty recipe have not
    from mrct_runtime.writable import require_folder
    from mrct_train.data import load_pairs
    from mrct_train.fit import Limits, fit
    from mrct_train.ranks import connect

    require_folder(out)
    require_folder(cache or out)
    device, told = _device(device)
    limits = Limits(device=device, **_given(context, _LIMITS))
    ranks = connect(limits)
    first = ranks.rank == 0
    with training_display(quiet=not first, early=_may_end_early(recipe)) as display:
        display.tell(told)
        pairs = ranks.first(lambda: load_pairs(data, recipe, cache or out / "cache", display.tell))
        outcome = fit(recipe, pairs, out, limits, display.tell, display, ranks)
    if not first:
        ending().silent = True
    else:
        click.echo("\n".join(_further(out)))
        ending().so_far = lambda: _end(outcome, display.loss)
    if outcome.signal is not None:
        if first:
            click.echo("mrct: error: stopped by a signal; the same command goes on", err=True)
        raise SystemExit(128 + outcome.signal)


def _given(context: click.Context, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of the options that have a value, so that a default is written once, where it belongs."""
    values = {name: context.params[name] for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _recipe(config: Path | None, chosen: dict[str, Any]) -> TrainConfig:
    """The recipe of a file, or the paper's, with what the options say in its place."""
    from mrct_train.config import read_config, resolved

    if "steps" in chosen and "epochs" in chosen:
        raise click.UsageError("--steps and --epochs exclude each other")
    return read_config(config, chosen) if config else resolved({}, "the options", chosen)


def _device(device: str) -> tuple[str, str]:
    """What `auto` means here, and the line that says so."""
    import torch

    if device != "auto":
        return device, f"device {device}"
    if torch.cuda.is_available():
        return "cuda", f"device cuda, which --device auto found: {torch.cuda.get_device_name()}"
    return "cpu", "device cpu: --device auto found no GPU"


def _may_end_early(recipe: TrainConfig) -> bool:
    return recipe.steps is None and recipe.epochs < recipe.most_epochs


def _end(outcome: Outcome, loss: float | None) -> str:
    """How the run ended, in one line."""
    last = "" if loss is None else f", loss {loss:.5f}"
    done = f"step {outcome.step} of {outcome.total}{last}"
    if outcome.signal is None and outcome.finished:
        return passed(f"finished: {done}")
    why = "at the time limit" if outcome.signal is None else "by a signal"
    return unfinished(f"stopped {why}: {done}; the same command goes on from here")


def _further(out: Path) -> list[str]:
    """What there is to look at, and what comes next."""
    pictures = sorted((out / "samples").glob("epoch-*.png"))
    seen = [path for path in (out / "log.csv", *pictures[-1:]) if path.exists()]
    look = [f"look at {' and '.join(str(path) for path in seen)}"] if seen else []
    if (out / "tensorboard").is_dir():
        look.append(f"or: {shlex.join(['tensorboard', '--logdir', str(out / 'tensorboard')])}")
    bundle = f"{out.resolve().name}.mrct"
    return [*look, f"next: {shlex.join(['mrct-export', str(out), bundle])}"]
