"""mrct bench: how fast a bundle's network runs on this machine, by every backend and beside PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from mrct_cli.command_line import anonymous
from mrct_cli.engine_flags import engine_flags, target
from mrct_cli.json_file import write_json
from mrct_cli.paths import PATH
from mrct_cli.verdict import passed, stdout_for_programs
from mrct_runtime.errors import EngineError, NoInputError, UsageError
from mrct_runtime.samplers import SAMPLERS
from mrct_runtime.structured_text import from_json
from mrct_train.baselines import Compile

if TYPE_CHECKING:
    from mrct_cli.bench_setting import Wish

_PLACEHOLDERS = {
    "bundle": "BUNDLE",
    "checkpoint": "RUN",
    "json_file": "FILE",
    "png": "FILE",
    "compare": "OLD",
}


@click.command()
@click.argument("bundle", type=PATH, metavar="BUNDLE")
@click.option(
    "--batches", default="1,2,4,8,10,16", show_default=True, help="Images of an evaluation."
)
@click.option("--size", type=int, help="Pixels along a side. [the bundle's]")
@click.option(
    "--sampler", type=click.Choice(list(SAMPLERS)), help="Of the slices. [the bundle's first]"
)
@click.option(
    "--steps",
    type=int,
    help="Evaluations a sample of the slices. [the bundle's preset, or else the sampler's own]",
)
@click.option("--mc", type=int, help="Samples a slice. [10; direct: 1]")
@engine_flags
@click.option(
    "--checkpoint",
    type=PATH,
    metavar="RUN",
    help="The run that the bundle was exported from, for PyTorch's weights. [random ones of its recipe]",
)
@click.option(
    "--compile",
    "compile_",
    type=click.Choice(get_args(Compile)),
    default="default",
    show_default=True,
    help="How torch.compile may search.",
)
@click.option(
    "--baselines/--no-baselines", default=True, help="Measure PyTorch too, where it is installed."
)
@click.option("--rounds", type=int, default=9, show_default=True, help="Turns of every candidate.")
@click.option("--turn", type=float, default=1.0, show_default=True, help="Seconds of a turn.")
@click.option(
    "--warm-up", type=float, default=10.0, show_default=True, help="Its seconds, at the most."
)
@click.option("--minutes", type=float, default=15.0, show_default=True, help="All together, about.")
@click.option(
    "--quick", is_flag=True, help="A look: few short rounds, no torch.compile, two steps."
)
@click.option("--json", "json_file", type=PATH, metavar="FILE", help="Write all figures; - prints.")
@click.option("--png", type=PATH, metavar="FILE", help="Draw the figures.")
@click.option("--compare", type=PATH, metavar="OLD", help="An earlier JSON file: print ratios.")
@click.pass_context
def bench(
    context: click.Context,
    /,
    bundle: Path,
    json_file: Path | None,
    png: Path | None,
    compare: Path | None,
    **_flags: object,
) -> str:
    """Measure how fast the network of BUNDLE runs here: evaluations and whole slices.

    Every backend and precision, and PyTorch where it is installed, runs in a process of its own; they take turns, and
    ratios are between turns of one round. Machines are noisy: compare ratios, not milliseconds of two runs.
    """
    from mrct_cli.bench_setting import setting_of
    from mrct_cli.bench_table import print_tables
    from mrct_runtime.bench.picture import draw
    from mrct_runtime.bench.run import conditions, run
    from mrct_runtime.writable import require_file

    stdout_for_programs(wanted=str(json_file) == "-")
    for file in (json_file, png):
        if file is not None:
            require_file(file)
    _refuse_what_is_no_run(context.params["checkpoint"])
    old = None if compare is None else _old(compare)
    wish = _wish(context)
    told = conditions(" ".join(anonymous(context, _PLACEHOLDERS)))
    setting, threads = setting_of(bundle, target(context), wish, told, _to_stderr)

    def keep(document: dict[str, Any]) -> None:
        if json_file is not None and str(json_file) != "-":
            write_json(document, json_file)

    found = run(setting, threads, _to_stderr, keep)
    if json_file is not None:
        write_json(found, json_file)
    if json_file is None or str(json_file) != "-":
        print_tables(found)
    if old is not None:
        _print_changes(old, found)
    if png is not None:
        draw(found, png)
    if not any(row["kind"] == "engine" for row in found["evaluations"]):
        reasons = "; ".join(f"{each['candidate']}: {each['reason']}" for each in found["refused"])
        raise EngineError(f"no backend could be measured ({reasons or 'none serves the device'})")
    measured = {row["candidate"] for row in found["evaluations"]}
    return passed(f"measured: {', '.join(sorted(measured))}")


def _refuse_what_is_no_run(checkpoint: Path | None) -> None:
    """NoInputError for a folder of no training, which PyTorch's process would find after minutes and pass over."""
    if checkpoint is None:
        return
    if (
        not any(checkpoint.glob("checkpoint-*/state.json"))
        and not (checkpoint / "state.json").is_file()
    ):
        raise NoInputError(f"{checkpoint}: no checkpoint here; name the OUT folder of mrct-train")


def _wish(context: click.Context) -> Wish:
    from mrct_cli.bench_setting import Wish

    flags = context.params
    return Wish(
        batches=_batches(flags["batches"]),
        size=flags["size"],
        sampler=flags["sampler"],
        steps=flags["steps"],
        mc=flags["mc"],
        rounds=flags["rounds"],
        turn=flags["turn"],
        warm_up=flags["warm_up"],
        minutes=flags["minutes"],
        checkpoint=flags["checkpoint"],
        compile_=flags["compile_"],
        baselines=flags["baselines"],
        quick=flags["quick"],
    )


def _batches(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise UsageError(f"--batches takes numbers like 1,2,4, got {text!r}") from error


def _old(file: Path) -> dict[str, Any]:
    from mrct_runtime.bench.compare import check

    try:
        document: dict[str, Any] = from_json(file.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{file} is not JSON: {error}") from error
    check(document, str(file))
    return document


def _print_changes(old: dict[str, Any], new: dict[str, Any]) -> None:
    from mrct_runtime.bench.compare import changes, differences

    for line in differences(old, new):
        click.echo(f"mrct: warning: not the same conditions: {line}", err=True)
    for change in changes(old, new):
        what = "a slice" if change.batch is None else f"batch {change.batch}"
        click.echo(
            f"{change.candidate}, {what}: {change.ratio:.2f} times as fast as before "
            f"({change.before_ms:.4g} ms then, {change.now_ms:.4g} ms now)"
        )


def _to_stderr(line: str) -> None:
    click.echo(line, err=True)
