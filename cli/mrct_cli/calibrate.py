"""mrct calibrate: the deviation of a bundle's samplers fitted to the errors of validation subjects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from mrct_cli.advance_lines import AdvanceLines, kept_work
from mrct_cli.command_line import words
from mrct_cli.engine_flags import engine_flags, target
from mrct_cli.paths import PATH
from mrct_cli.validation import validation_flags, validation_subjects
from mrct_cli.verdict import passed
from mrct_runtime.errors import NoInputError, UsageError
from mrct_runtime.samplers import SAMPLERS

if TYPE_CHECKING:
    from mrct_runtime.engines import Engine
    from mrct_runtime.evaluation.calibration import Calibration, Reliability, Voxels
    from mrct_runtime.evaluation.cases import Case
    from mrct_runtime.evaluation.contestants import Contestant
    from mrct_runtime.evaluation.drawn import Drawn
    from mrct_runtime.evaluation.kept import Keeper, Unit
    from mrct_runtime.evaluation.recalibration import Recalibration
    from mrct_runtime.evaluation.runner import Evaluator
    from mrct_runtime.output_folder import OutputFolder

_BY = ("tissue", "body")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle_path", type=PATH, metavar="BUNDLE")
@click.argument("data", type=PATH, metavar="DATA")
@click.option(
    "--samplers",
    callback=words,
    metavar="A,B,...",
    help=f"Of {', '.join(SAMPLERS)}. [all that the bundle has a preset for]",
)
@validation_flags
@click.option(
    "--by",
    type=click.Choice(_BY),
    default=_BY[0],
    show_default=True,
    help="A scale for air, soft tissue and bone each, or one for the whole body.",
)
@engine_flags
@click.option("--dry-run", is_flag=True, help="Print the coverages; leave the bundle as it is.")
@click.option("--quiet", is_flag=True, help="Print errors, warnings and the last line only.")
@click.pass_context
def calibrate(
    context: click.Context,
    /,
    bundle_path: Path,
    data: Path,
    samplers: list[str],
    mc: int,
    seed: int,
    subjects: str,
    split: Path | None,
    slices: int | None,
    by: str,
    dry_run: bool,
    quiet: bool,
    **_engine: object,
) -> str:
    """Fit the deviation of BUNDLE's samplers to their true errors on the paired data set DATA, and store the fit.

    DATA holds the validation subjects, or a whole data set of which --split names them; never those of training or
    test. What the bundle has for other samplers stays. mrct infer applies what is stored wherever sampler, options and
    --mc are the same.
    """
    # DICOM and array libraries take a second to import, which --help has not
    from mrct_export.bundle_writer import rewrite
    from mrct_runtime.bundle import MODEL, Bundle
    from mrct_runtime.evaluation.runner import Evaluator, Plan
    from mrct_runtime.settings import Settings

    bundle = Bundle.load(bundle_path)
    plan = Plan(
        samplers=tuple(samplers) or None,
        settings=Settings(mc=mc, seed=seed, target=target(context)),
        selection=validation_subjects(data, subjects, slices, split),
    )
    # an earlier fit on these subjects is no reason to warn of them
    unfitted = replace(bundle, manifest=bundle.manifest.model_copy(update={"uncertainty": {}}))
    evaluator = Evaluator([unfitted], data, plan)
    _refuse_single_samples(evaluator)
    for warning in evaluator.survey.warnings:
        click.echo(f"mrct: warning: {warning}", err=True)
    with nullcontext() if dry_run else _working_folder(bundle_path) as folder:
        keeper = None if folder is None else kept_work(folder, evaluator, quiet=quiet)
        fitted = {}
        for contestant, subjects_voxels in _voxels(evaluator, keeper, quiet=quiet):
            voxels = [each.voxels for each in subjects_voxels]
            found = _fit(evaluator, contestant, subjects_voxels, by)
            fitted[contestant.settings.sampler] = found
            if not quiet:
                click.echo("\n".join(_table(contestant, voxels, found)))
        if not dry_run:
            # hours may lie between: another calibration's fits are kept, another network is refused
            rewrite(bundle_path, uncertainty=fitted, model_sha256=bundle.manifest.files[MODEL])
    end = "left as it is" if dry_run else "holds the recalibration now"
    return passed(f"{bundle_path} {end}; its worth is what `mrct eval` finds on other subjects")


def _working_folder(bundle: Path) -> OutputFolder:
    """Where a calibration of the bundle keeps what it has done; one at a time, so that none takes back what another stores."""
    from mrct_runtime.output_folder import OutputFolder

    return OutputFolder.claim(bundle.with_name(f"{bundle.name}-calibration"), resumable=True)


def _refuse_single_samples(evaluator: Evaluator) -> None:
    for contestant in evaluator.contestants:
        if contestant.mc < 2:
            raise UsageError(
                f"sampler {contestant.settings.sampler} with mc {contestant.mc} has no deviation to fit; "
                "take a sampling network and --mc 10"
            )


class _Subject(NamedTuple):
    """A subject's voxels, and the digests by which an evaluation knows it again."""

    voxels: Voxels
    digests: frozenset[str]


def _voxels(
    evaluator: Evaluator, keeper: Keeper | None, *, quiet: bool
) -> Iterator[tuple[Contestant, list[_Subject]]]:
    """Each sampler with the voxels of every subject, when all are drawn."""
    from mrct_runtime.evaluation.calibration import Voxels
    from mrct_runtime.evaluation.runner import Asked

    found: dict[str, list[_Subject]] = {each.label: [] for each in evaluator.contestants}
    show = (lambda _: None) if quiet else AdvanceLines()
    for contestant, case, unit in evaluator.each(Asked("voxels", _made), show, keeper):
        voxels = Voxels(**unit.arrays)
        if len(voxels):
            found[contestant.label].append(_Subject(voxels, case.digests))
    for contestant in evaluator.contestants:
        if not found[contestant.label]:
            raise NoInputError("no voxel of these slices lies in the body; take more --slices")
        yield contestant, found[contestant.label]


def _made(contestant: Contestant, _engine: Engine, case: Case, drawn: Drawn) -> Unit:
    from mrct_runtime.evaluation.kept import Unit
    from mrct_runtime.evaluation.voxels import body_voxels

    return Unit({}, vars(body_voxels(case, drawn.moments, contestant.bundle.window)))


def _fit(
    evaluator: Evaluator, contestant: Contestant, subjects: list[_Subject], by: str
) -> Recalibration:
    from mrct_runtime.evaluation.fitting import fit

    chosen = evaluator.plan.selection
    # no name of a folder or a subject: a bundle is passed on
    data = "subjects of their own" if chosen.split is None else f"{chosen.part} part of the split"
    return fit(
        [subject.voxels for subject in subjects],
        contestant.options,
        contestant.mc,
        data=data,
        slices=sum(evaluator.survey.slices.values()),
        by_tissue=by == "tissue",
        prior_mean=contestant.prior_mean,
        subjects_sha256=sorted(set().union(*(subject.digests for subject in subjects))),
    )


def _table(contestant: Contestant, voxels: list[Voxels], fitted: Recalibration) -> Iterator[str]:
    """Coverages and ENCE by tissue before and after, and the scales."""
    from mrct_runtime.evaluation.calibration import calibration, recalibrated

    n = contestant.mc
    before = calibration(voxels, n)
    after = calibration([recalibrated(each, fitted) for each in voxels], n)
    yield f"{contestant.settings.sampler}: {n} samples a slice, {len(voxels)} subjects"
    yield f"{'':6}{'voxels':>9}  {'covered by 50, 80, 95 % intervals':<44}{'ENCE':<16}scale"
    for tissue, found in before.tissues.items():
        scale = fitted.scales.get(tissue)
        yield (
            f"{tissue:6}{found.voxels:9}  {_row(before, tissue)} -> {_row(after, tissue)}"
            f"    {_ence(found)} -> {_ence(after.tissues[tissue])}    "
            + ("" if scale is None else f"{scale.factor:.2f} std + {scale.floor_hu:.1f} HU")
        )


def _row(found: Calibration, tissue: str) -> str:
    covered = found.tissues[tissue].coverage.values()
    return ", ".join(f"{interval.value:5.1%}" for interval in covered)


def _ence(found: Reliability) -> str:
    return "-" if found.ence is None else f"{found.ence:.2f}"
