"""mrct eval: bundles and paired data in, a report of how good their synthetic CT is out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from mrct_cli.advance_lines import AdvanceLines, kept_work
from mrct_cli.command_line import anonymous, words
from mrct_cli.engine_flags import engine_flags, target
from mrct_cli.paths import PATH
from mrct_cli.sampler_flags import published, recipe_flag
from mrct_cli.verdict import passed
from mrct_runtime.errors import UsageError
from mrct_runtime.samplers import SAMPLERS

if TYPE_CHECKING:
    from mrct_runtime.evaluation.cases import Selection
    from mrct_runtime.evaluation.results import Evaluation
    from mrct_runtime.evaluation.runner import Plan

_PARTS = ("training", "validation", "test", "unseen")
_VIEWS = ("axial", "coronal", "sagittal")
# Folders are often named after patients.
_PLACEHOLDERS = {"bundles": "BUNDLE...", "data": "DATA", "out": "OUT", "split": "SPLIT"}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundles", type=PATH, nargs=-1, required=True, metavar="BUNDLE...")
@click.argument("data", type=PATH, metavar="DATA")
@click.option("--out", type=PATH, metavar="OUT", help="The new folder. [NAME-eval, DATA's name]")
@click.option(
    "--samplers",
    callback=words,
    metavar="A,B,...",
    help=f"Of {', '.join(SAMPLERS)}. [all that a bundle has a preset for]",
)
@click.option("--mc", type=int, default=10, show_default=True, help="Monte Carlo samples a slice.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of samples and intervals.")
@click.option(
    "--steps",
    type=int,
    help="Network evaluations a sample; not of ode, which takes as many as it needs. [the bundle's preset]",
)
@recipe_flag
@click.option("--subjects", default="*", show_default=True, help="Pattern of subjects' names.")
@click.option("--split", type=PATH, metavar="FILE", help="split.json of a training run on DATA.")
@click.option(
    "--part",
    type=click.Choice(_PARTS),
    default="test",
    show_default=True,
    help="Part of the split; unseen is all that is neither training nor validation.",
)
@click.option("--views", callback=words, metavar="A,B,...", help=f"Of {', '.join(_VIEWS)}. [all]")
@click.option("--slices", type=int, help="Evenly spaced slices of a volume. [all]")
@click.option(
    "--groups",
    callback=words,
    metavar="LABEL=PATTERN,...",
    help="Subjects to report apart, such as those of another hospital.",
)
@click.option(
    "--outside",
    type=click.Choice(["keep", "air"]),
    default="keep",
    show_default=True,
    help="For the paper's whole-slice measures: what lies outside the body as it is, or air in both images.",
)
@click.option("--range-2023", type=float, nargs=2, help="Of SynthRAD2023, HU. [-1024 3000]")
@click.option("--range-2025", type=float, nargs=2, help="Of SynthRAD2025, HU. [-1024 3071]")
@click.option("--allow-training-subjects", is_flag=True, help="Warn of them instead of refusing.")
@engine_flags
@click.option("--overwrite", is_flag=True, help="Replace an earlier evaluation in OUT.")
@click.option("--quiet", is_flag=True, help="Print errors, warnings and the last line only.")
@click.pass_context
def evaluate(
    context: click.Context,
    /,
    bundles: tuple[Path, ...],
    data: Path,
    out: Path | None,
    overwrite: bool,
    quiet: bool,
    **_others: object,
) -> str:
    """Compare the synthetic CT of BUNDLE... with the true CT of the paired data set DATA.

    Every bundle is run with every sampler that serves it, on the same slices. The folder OUT will hold report.html,
    evaluation.json, subjects.csv and figures. DATA/test is taken where there is one. Scores name subjects as DATA does.
    """
    # DICOM and array libraries take a second to import, which --help has not
    from mrct_runtime.bundle import Bundle
    from mrct_runtime.evaluation.html import REPORT
    from mrct_runtime.evaluation.runner import Evaluator
    from mrct_runtime.evaluation.writing import claim, write_evaluation

    plan = _plan(context)
    place = out or Path(f"{data.resolve().name}-eval")
    with claim(place, overwrite=overwrite) as folder:
        evaluator = Evaluator([Bundle.load(path) for path in bundles], data, plan)
        for warning in evaluator.survey.warnings:
            click.echo(f"mrct: warning: {warning}", err=True)
        if not quiet:
            runs = ", ".join(each.label for each in evaluator.contestants)
            slices = sum(evaluator.survey.slices.values())
            click.echo(
                f"{len(evaluator.subjects)} subjects, {slices} slices through {runs}", err=True
            )
        evaluation, pictures = evaluator.run(
            (lambda _: None) if quiet else AdvanceLines(),
            kept_work(folder, evaluator, quiet=quiet),
        )
        evaluation = write_evaluation(evaluation, pictures, folder)
        folder.commit()
    if not quiet:
        click.echo("\n".join(_summary(evaluation)))
    return passed(f"wrote {place}: look at {place / REPORT}")


def _plan(context: click.Context) -> Plan:
    from mrct_runtime.evaluation.bootstrap import Bootstrap
    from mrct_runtime.evaluation.groups import parse_groups
    from mrct_runtime.evaluation.metrics import SYNTHRAD_2023, SYNTHRAD_2025, HuRange
    from mrct_runtime.evaluation.runner import Plan
    from mrct_runtime.evaluation.scoring import Ruler
    from mrct_runtime.settings import Settings

    options = context.params
    settings = Settings(
        mc=options["mc"],
        seed=options["seed"],
        options={} if options["steps"] is None else {"steps": options["steps"]},
        recipe=published(options["recipe"]),
        target=target(context),
    )
    ruler = Ruler(
        HuRange(*(options["range_2023"] or SYNTHRAD_2023)),
        HuRange(*(options["range_2025"] or SYNTHRAD_2025)),
        options["outside"],
    )
    return Plan(
        samplers=tuple(options["samplers"]) or None,
        settings=settings,
        selection=_selection(context),
        groups=parse_groups(options["groups"]),
        ruler=ruler,
        bootstrap=Bootstrap(seed=options["seed"]),
        allow_training_subjects=options["allow_training_subjects"],
        command=tuple(anonymous(context, _PLACEHOLDERS)),
    )


def _selection(context: click.Context) -> Selection:
    from mrct_runtime.evaluation.cases import Selection

    options = context.params
    views = tuple(options["views"]) or _VIEWS
    if unknown := set(views) - set(_VIEWS):
        raise UsageError(f"unknown view {min(unknown)!r}; choose from {', '.join(_VIEWS)}")
    given = context.get_parameter_source("part") is ParameterSource.COMMANDLINE
    if given and options["split"] is None:
        raise UsageError("--part needs --split, the split.json of a training run")
    return Selection(
        pattern=options["subjects"],
        views=views,
        slices=options["slices"],
        split=options["split"],
        part=options["part"],
    )


def _summary(evaluation: Evaluation) -> list[str]:
    """A line for every result: what a reader asks first."""
    from mrct_runtime.evaluation.results import EVERYONE

    shown = ("paper_ssim", "paper_psnr", "mae_hu")
    lines = [f"{'':24}{'SSIM':>8}{'PSNR dB':>10}{'MAE HU':>10}"]
    for run in evaluation.runs:
        found = run.overall[EVERYONE]
        results = [(run.label, found.single)]
        if run.mc > 1:
            results.append((run.label_of_mean, found.mean))
        for label, scores in results:
            ssim, psnr, mae = (scores[name].value if name in scores else None for name in shown)
            lines.append(f"{label:24}{_shown(ssim, 3):>8}{_shown(psnr, 2):>10}{_shown(mae, 1):>10}")
    return lines


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
