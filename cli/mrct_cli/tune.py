"""mrct tune: the fewest evaluations at which a bundle's samplers still do what their long runs do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from mrct_cli.advance_lines import AdvanceLines, kept_work
from mrct_cli.command_line import anonymous, words
from mrct_cli.engine_flags import engine_flags, target
from mrct_cli.paths import PATH
from mrct_cli.validation import validation_flags, validation_subjects
from mrct_cli.verdict import passed
from mrct_runtime.samplers import SAMPLERS

if TYPE_CHECKING:
    from mrct_runtime.bundle import Bundle
    from mrct_runtime.evaluation.tuner import Tuner
    from mrct_runtime.evaluation.tuning import Curve, Point, Tuning

TUNING = "tuning.json"
# Folders are often named after patients.
_PLACEHOLDERS = {"bundle_path": "BUNDLE", "data": "DATA", "out": "OUT", "split": "SPLIT"}


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    """The whole numbers of a list with commas."""
    found = words(context, parameter, value)
    try:
        return tuple(int(word) for word in found)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no list of whole numbers") from error


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle_path", type=PATH, metavar="BUNDLE")
@click.argument("data", type=PATH, metavar="DATA")
@click.option("--out", type=PATH, metavar="OUT", help="The new folder. [NAME-tune, BUNDLE's name]")
@click.option(
    "--samplers",
    callback=words,
    metavar="A,B,...",
    help=f"Of {', '.join(SAMPLERS)}. [all that serve the bundle]",
)
@click.option(
    "--steps",
    callback=_numbers,
    default="5,8,10,15,20,30,50,100",
    show_default=True,
    metavar="N,N,...",
    help="Evaluations a sample that are tried; of ode tolerances from 0.1 to 0.0001.",
)
@click.option(
    "--reference",
    type=click.IntRange(min=2),
    default=1000,
    show_default=True,
    help="Evaluations a sample of the long runs; fewer take less time, and are recorded.",
)
@click.option(
    "--mae-tolerance",
    type=float,
    default=1.0,
    show_default=True,
    help="How much higher than the long run's the MAE of the averaged image may be, in per cent.",
)
@click.option(
    "--deviation-tolerance",
    type=float,
    default=5.0,
    show_default=True,
    help="How far from the long run's the mean deviation of the samples may be, in per cent.",
)
@validation_flags
@engine_flags
@click.option("--dry-run", is_flag=True, help="Write the curves; leave the bundle as it is.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier tuning in OUT.")
@click.option("--quiet", is_flag=True, help="Print errors, warnings and the last line only.")
@click.pass_context
def tune(
    context: click.Context,
    /,
    bundle_path: Path,
    data: Path,
    out: Path | None,
    dry_run: bool,
    overwrite: bool,
    quiet: bool,
    **_others: object,
) -> str:
    """Find for each sampler of BUNDLE the fewest evaluations that do what its long run does, on the paired data set DATA.

    A sampler's MAE, SSIM and mean deviation are held against those of its own long run from the same noise. The
    smallest number from which on all that were tried lie within the tolerances becomes its preset in BUNDLE; a sampler
    without one keeps what it has. Without --samplers the one with the fewest evaluations, of those whose MAE is within
    the tolerance of the best, is taken from then on where none is named. The folder OUT will hold tuning.json and
    tuning.png. DATA holds validation subjects, or a whole data set of which --split names them.
    """
    # DICOM and array libraries take a second to import, which --help has not
    from mrct_runtime.bundle import Bundle
    from mrct_runtime.evaluation.tuning import Tolerance
    from mrct_runtime.output_folder import OutputFolder

    options = context.params
    tolerance = Tolerance(options["mae_tolerance"] / 100, options["deviation_tolerance"] / 100)
    bundle = Bundle.load(bundle_path)
    place = out or Path(f"{bundle_path.resolve().stem}-tune")
    with OutputFolder.claim(
        place, replaces=TUNING if overwrite else None, resumable=True
    ) as folder:
        tuner = _tuner(context, bundle, data)
        for warning in tuner.survey.warnings:
            click.echo(f"mrct: warning: {warning}", err=True)
        tuning = tuner.run(
            tolerance,
            (lambda _: None) if quiet else AdvanceLines(),
            kept_work(folder, tuner, quiet=quiet),
        )
        _write(tuning, folder)
        folder.commit()
    if not quiet:
        click.echo("\n".join(_table(tuning)))
    if not dry_run and tuning.presets:
        # of some samplers the best says nothing of the others
        best = None if options["samplers"] else tuning.best
        _store(bundle_path, bundle, tuning.presets, best)
    for line in _lost(bundle, tuning.presets):
        click.echo(f"mrct: warning: {line}", err=True)
    if tuning.best is not None and not quiet:
        click.echo(f"best: {tuning.best}")
    stored = "left as it is" if dry_run or not tuning.presets else "holds the presets now"
    return passed(f"{bundle_path} {stored}; wrote {place}")


def _tuner(context: click.Context, bundle: Bundle, data: Path) -> Tuner:
    from mrct_runtime.evaluation.ladders import ladders
    from mrct_runtime.evaluation.runner import Plan
    from mrct_runtime.evaluation.tuner import Tuner
    from mrct_runtime.settings import Settings

    options = context.params
    plan = Plan(
        settings=Settings(mc=options["mc"], seed=options["seed"], target=target(context)),
        selection=validation_subjects(
            data, options["subjects"], options["slices"], options["split"]
        ),
        command=tuple(anonymous(context, _PLACEHOLDERS)),
    )
    # an earlier recalibration on these subjects is no reason to warn of them
    unfitted = replace(bundle, manifest=bundle.manifest.model_copy(update={"uncertainty": {}}))
    chosen = ladders(unfitted, options["samplers"], options["steps"], options["reference"])
    return Tuner(unfitted, data, plan, chosen)


def _write(tuning: Tuning, folder: Any) -> None:
    from mrct_runtime.evaluation.figures.tuning import FILE, draw
    from mrct_runtime.output_folder import not_writable

    try:
        (folder.partial / TUNING).write_text(tuning.to_json(), "utf-8")
        draw(tuning, folder.partial / FILE)
    except OSError as error:
        raise not_writable(folder.target, error) from error


def _store(
    path: Path, bundle: Bundle, found: Mapping[str, Mapping[str, Any]], best: str | None
) -> None:
    """Writes the presets over those of the same samplers that the bundle has now, and the sampler to be taken."""
    from mrct_export.bundle_writer import rewrite
    from mrct_runtime.bundle import MODEL, Bundle

    # hours may lie between: another tuning's presets are kept, another network is refused
    presets = {**Bundle.load(path).manifest.presets, **found}
    network = bundle.manifest.files[MODEL]
    rewrite(path, presets=presets, sampler=best, model_sha256=network)


def _lost(bundle: Bundle, presets: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What is to be told of recalibrations that were fitted at other options than a new preset's."""
    from dataclasses import asdict

    from mrct_runtime.samplers import sampler

    for name, options in presets.items():
        stored = bundle.manifest.uncertainty.get(name)
        if stored is not None and stored.options != asdict(cast("Any", sampler(name, options))):
            yield (
                f"the recalibration of {name} was fitted at other options and does not serve its new preset; "
                "run `mrct calibrate` again"
            )


def _table(tuning: Tuning) -> Iterator[str]:
    """A line a point, the reference last, and a star at the choice."""
    yield f"{'':10}{'evaluations':>12}{'MAE HU':>9}{'SSIM':>8}{'deviation HU':>14}{'of reference':>14}{'s a slice':>11}"
    for each in tuning.curves:
        for place, point in enumerate((*each.points, each.reference)):
            name = each.sampler if place == 0 else ""
            mark = "*" if place == each.chosen else "reference" if point is each.reference else ""
            yield f"{name:10}{_row(each, point)}  {mark}".rstrip()
        for label in each.failed:
            yield f"{'':10}{label}: not finite, left out"
        if each.choice is None:
            yield f"{'':10}nothing within the tolerances; it keeps what it has"


def _row(each: Curve, point: Point) -> str:
    return (
        f"{point.evaluations:12.4g}{point.mae_hu:9.2f}{point.ssim:8.4f}{point.mean_std_hu:14.2f}"
        f"{each.spread(point):14.3f}{point.seconds_a_slice:11.2f}"
    )
