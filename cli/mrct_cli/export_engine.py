"""--engine of mrct export: TensorRT engines of a bundle, into the local cache."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import click
from click.core import ParameterSource

from mrct_cli.command_line import words
from mrct_cli.verdict import passed
from mrct_runtime.engines.target import Target
from mrct_runtime.engines.tensorrt_build import MOST_BATCH, Shapes, check_capabilities
from mrct_runtime.engines.tensorrt_library import RTX, TENSORRT, Library
from mrct_runtime.errors import UsageError

Command: TypeAlias = Callable[..., Any]

FLAVOURS: Final = {flavour.backend: flavour for flavour in (RTX, TENSORRT)}
_BATCH: Final = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")
_OPTIONS: Final = (
    click.option(
        "--engine",
        type=click.Choice(list(FLAVOURS)),
        help="Also build the bundle's TensorRT engines into the local cache, or those of a bundle that is there, in place of "
        "CKPT; tensorrt-rtx needs no GPU for that.",
    ),
    click.option(
        "--compute-capabilities",
        callback=words,
        metavar="8.6,8.9,...",
        help="The GPUs that a tensorrt-rtx engine is for. [8.0 and newer]",
    ),
    click.option(
        "--batch",
        default=f"1-{MOST_BATCH}",
        show_default=True,
        help="Images that an engine takes at once. One number is faster, and fewer images are filled up; sampling takes "
        f"{Target.batch}.",
    ),
    click.option(
        "--size",
        type=int,
        help="Rows and columns of an engine's images. [the model's own, as in sampling]",
    ),
)


def builds_engines(command: Command) -> Command:
    """The command that exports CKPT to BUNDLE, and says so, which with --engine builds engines of it, or of CKPT if that is a bundle."""

    @functools.wraps(command)
    def export(
        checkpoint: Path,
        bundle: Path | None,
        engine: str | None,
        compute_capabilities: list[str],
        batch: str,
        size: int | None,
        **others: Any,
    ) -> str:
        _check(bundle, engine, others)
        # what cannot be built is told before the export, which takes minutes
        library = None if engine is None else Library(FLAVOURS[engine])
        if library is not None:
            _check_architecture(library, compute_capabilities)
            shapes(batch, 1 if size is None else size)
        done: list[str] = []
        if bundle is not None:
            done.append(command(checkpoint=checkpoint, bundle=bundle, **others))
        if library is not None:
            # building takes its time
            click.echo("".join(f"{line}\n" for line in done), nl=False)
            done.append(_build(library, bundle or checkpoint, compute_capabilities, batch, size))
        return passed("; ".join(done))

    for option in reversed(_OPTIONS):
        export = option(export)
    return export


def shapes(batch: str, size: int) -> Shapes:
    """Those of N or LEAST-MOST images at once, tuned for the batch that sampling takes; UsageError for other words."""
    found = _BATCH.fullmatch(batch)
    least, most = (int(found[1]), int(found[2] or found[1])) if found is not None else (0, 0)
    if not 1 <= least <= most:
        raise UsageError(f"--batch takes a number or a growing range, as 1-16, got {batch!r}")
    return Shapes(least, max(least, min(Target.batch, most)), most, size, size)


def _check(bundle: Path | None, engine: str | None, others: dict[str, Any]) -> None:
    """UsageError for an option without what it belongs to."""
    context = click.get_current_context()
    given = [
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    flags = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    if engine is None:
        if bundle is None:
            raise UsageError("name the bundle to be written, a directory NAME.mrct")
        if told := {"compute_capabilities", "batch", "size"} & set(given):
            raise UsageError(f"{flags[min(told)]} is an engine's: add --engine")
    elif bundle is None and (told := set(others) & set(given)):
        raise UsageError(f"{flags[min(told)]} is an export's: name the run and the bundle")


def _check_architecture(library: Library, capabilities: list[str]) -> None:
    """What `_build` would refuse: compute capabilities that are not known, a GPU that is needed and not there."""
    check_capabilities(library, capabilities)
    if not library.flavour.portable:
        from mrct_runtime.cuda import Cuda

        Cuda()


def _build(
    library: Library, path: Path, capabilities: list[str], batch: str, size: int | None
) -> str:
    """Builds the engine of each of the bundle's precisions, or tells that it is there; what there is now, in words."""
    from mrct_runtime.bundle import Bundle
    from mrct_runtime.cuda import Cuda
    from mrct_runtime.engines.cache import EngineCache
    from mrct_runtime.engines.selection import network_of
    from mrct_runtime.engines.tensorrt_choice import Gpu, made

    bundle = Bundle.load(path)
    image = bundle.manifest.image
    size = image.size if size is None else size
    if size % image.multiple:
        raise UsageError(f"--size must be a multiple of the model's {image.multiple}, got {size}")
    gpu = None
    if not library.flavour.portable:
        device = Cuda()
        gpu = Gpu(device.capability, device.model)
    for precision in bundle.precisions:
        network = network_of(bundle, precision)
        record, _, built = made(library, network, shapes(batch, size), gpu, capabilities)
        how = f"built in {record.seconds:.1f} s" if built else "there already"
        click.echo(
            f"{library} {precision}, batch {batch}, {size} x {size}, {record.key.architecture}: "
            f"{record.bytes / 1e6:.1f} MB, {how}"
        )
        click.echo(f"key {record.key.digest}")
        click.echo(f"file {EngineCache.open().path(record.key)}")
    return f"the cache has its {library} engines, {' and '.join(bundle.precisions)}"
