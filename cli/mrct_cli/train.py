"""mrct train: paired MR and CT in, a trained network out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from mrct_cli.paths import PATH


@click.command()
@click.argument("data", type=PATH, metavar="DATA")
@click.argument("out", type=PATH, metavar="OUT")
@click.option("--method", type=click.Choice(["ddpm", "sde"]), help="Default: the recipe's.")
@click.option(
    "--config",
    type=PATH,
    metavar="FILE",
    help="The recipe, in TOML. Default: the paper's.",
)
@click.option("--steps", type=int, help="Optimiser steps, over the recipe's.")
@click.option("--epochs", type=int, help="Epochs, over the recipe's.")
@click.option("--batch", type=int, help="Images a step, over the recipe's.")
@click.option("--seed", type=int, help="Of weights, order and noise, over the recipe's.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--threads", type=int, help="CPU threads. Default: PyTorch's.")
@click.option(
    "--max-minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop after that time, save, and go on when called again.",
)
def train(
    data: Path,
    out: Path,
    method: str | None,
    config: Path | None,
    steps: int | None,
    epochs: int | None,
    batch: int | None,
    seed: int | None,
    device: str,
    threads: int | None,
    max_minutes: float | None,
) -> None:
    """Train a network on the paired MR and CT in DATA; the run is kept in OUT.

    DATA holds DICOM as DATA/train/SUBJECT/... with an MR and a CT series in one frame of reference. Called again with the same OUT, training goes on where it stopped.
    """
    from mrct_train.config import load_config, read_config

    if steps is not None and epochs is not None:
        raise click.UsageError("--steps and --epochs exclude each other")
    chosen = {"method": method, "steps": steps, "epochs": epochs, "batch": batch, "seed": seed}
    recipe = read_config(config, chosen) if config else load_config("", "the options", chosen)

    from mrct_train.data import load_pairs
    from mrct_train.fit import Limits, fit

    limits = Limits(device=device, threads=threads)
    if max_minutes is not None:
        limits = replace(limits, max_minutes=max_minutes)
    pairs = load_pairs(data, recipe, out / "cache", click.echo)
    outcome = fit(recipe, pairs, out, limits, click.echo)
    if outcome.signal is not None:
        click.echo("stopped by a signal; the same command goes on from here", err=True)
        raise SystemExit(128 + outcome.signal)
    where = (
        "finished" if outcome.finished else "stopped at the time limit; the same command goes on"
    )
    click.echo(f"{where}: step {outcome.step} of {outcome.total} in {out}")
