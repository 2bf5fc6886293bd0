"""mrct export: a training run in, a bundle out, and TensorRT engines of it."""

from __future__ import annotations

from pathlib import Path

import click

from mrct_cli.export_engine import builds_engines
from mrct_cli.paths import PATH
from mrct_runtime.errors import UsageError


@click.command()
@builds_engines
@click.argument("checkpoint", type=PATH, metavar="CKPT")
@click.argument("bundle", type=PATH, metavar="[BUNDLE]", required=False)
@click.option(
    "--presets",
    type=PATH,
    metavar="FILE",
    help="TOML or JSON: a table of options for each sampler. Default: the samplers' own settings.",
)
@click.option(
    "--fp16",
    "half",
    is_flag=True,
    help="Also in mixed precision, for GPUs; refused where that changes a sampled image by more than its Monte Carlo error.",
)
@click.option(
    "--audit",
    type=PATH,
    metavar="DATA",
    help="With --fp16: paired data whose slices are sampled too. Generated pelves always are.",
)
@click.option("--overwrite", is_flag=True, help="Replace a bundle of that name.")
def export(
    checkpoint: Path,
    bundle: Path,
    presets: Path | None,
    half: bool,
    audit: Path | None,
    overwrite: bool,
) -> str:
    """Turn the training run CKPT into BUNDLE, a directory NAME.mrct.

    Exports the averaged weights to ONNX, compares the graph with the network, and refuses to write where they differ.
    With --fp16 every sampler's images are compared too.
    """
    from mrct_export.bundle_writer import read_presets
    from mrct_export.export import export as write

    if audit is not None and not half:
        raise UsageError("--audit names slices for half precision: add --fp16")
    chosen = None if presets is None else read_presets(presets)
    path = write(
        checkpoint,
        bundle,
        presets=chosen,
        overwrite=overwrite,
        half=half,
        audit=audit,
        report=click.echo,
    )
    return f"wrote {path}"
