"""mrct infer: an MR study in, a synthetic CT out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mrct_cli.command_line import anonymous
from mrct_cli.engine_flags import engine_flags, target
from mrct_cli.many import translate_many
from mrct_cli.many_flags import SHARING, many, many_flags
from mrct_cli.output_flags import output_flags, outputs
from mrct_cli.paths import PATH
from mrct_cli.plan import estimate_lines, plan_lines
from mrct_cli.replay_flag import replay_flag, replayed
from mrct_cli.sampler_flags import chosen, published, recipe_flag, sampler_flags, served
from mrct_cli.samples import samples
from mrct_cli.telling import Teller, to_stderr
from mrct_cli.verdict import ending, passed, unfinished
from mrct_runtime.errors import UsageError
from mrct_runtime.samplers import SAMPLERS

if TYPE_CHECKING:
    from mrct_runtime.replaying import Replay
    from mrct_runtime.warm_start import WarmStart

# Folders and series are often named after patients.
_PLACEHOLDERS = {
    "study": "STUDY",
    "out": "OUT",
    "bundle_path": "BUNDLE",
    "series": "SERIES",
    "reference": "CT",
    "warm_start": "BUNDLE",
    "replay_path": "RUN.JSON",
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("study", type=PATH)
@click.argument("out", type=PATH, required=False)
@click.option(
    "--sampler",
    type=click.Choice(list(SAMPLERS)),
    help=f"What the model allows: {served()}. [the bundle's own]",
)
@click.option(
    "--mc",
    callback=samples,
    metavar="N or N..M",
    help="Monte Carlo samples a slice, or as many as --mc-tolerance asks for, such as 4..32. [10; direct: 1]",
)
@click.option(
    "--mc-tolerance",
    type=float,
    metavar="HU",
    help="The standard error of a slice's mean, averaged over the body, at which it has samples enough.",
)
@click.option(
    "--branch-at",
    type=float,
    metavar="T",
    help="Sample a slice once down to this network time, and its samples apart from there: faster, with less deviation.",
)
@click.option(
    "--antithetic",
    is_flag=True,
    help="Samples in pairs from opposite noise: a far more exact mean by a sampler that draws none later, such as dpmpp.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, other samples.")
@click.option(
    "--bundle",
    "bundle_path",
    type=PATH,
    envvar="MRCT_BUNDLE",
    show_envvar=True,
    help="The model, a .mrct directory. Without one a demonstration model trained on phantoms is taken.",
)
@click.option(
    "--bundle-sha256",
    metavar="HEX",
    envvar="MRCT_BUNDLE_SHA256",
    show_envvar=True,
    help="Refuse any other bundle than the one with this digest, which run.json and mrct doctor have.",
)
@click.option(
    "--series",
    metavar="NAME",
    help="Translate this MR series, by its number or UID, of several stacks the second by NUMBER:2; `mrct check STUDY` lists them.",
)
@recipe_flag
@sampler_flags
@click.option(
    "--warm-start",
    type=PATH,
    metavar="BUNDLE",
    help="Start from the image of this direct network (CNN, WGAN-GP) and some noise.",
)
@click.option(
    "--warm-sigma",
    type=float,
    help="That noise, std / alpha: more keeps more of the deviation. [4 deviations of the training's CT]",
)
@click.option(
    "--raw-uncertainty",
    is_flag=True,
    help="Leave the deviation as the samples have it, also where the bundle can recalibrate it.",
)
@click.option(
    "--reference",
    type=PATH,
    metavar="CT",
    help="The true CT of this MR, a DICOM folder or a volume's file; the report compares it.",
)
@click.option("--batch", type=int, help="Images at once; no effect on the result. [by image size]")
@replay_flag
@output_flags
@engine_flags
@many_flags
@click.option("--dry-run", is_flag=True, help="Print the plan and an estimate; write nothing.")
@click.option("--overwrite", is_flag=True, help="Replace the folder OUT.")
@click.option("--quiet", is_flag=True, help="Print errors, warnings and the last line only.")
@click.pass_context
def infer(
    context: click.Context,
    /,
    study: Path,
    out: Path | None,
    sampler: str | None,
    mc: int | tuple[int, int] | None,
    mc_tolerance: float | None,
    branch_at: float | None,
    antithetic: bool,
    seed: int,
    bundle_path: Path | None,
    bundle_sha256: str | None,
    series: str | None,
    recipe: str,
    warm_start: Path | None,
    warm_sigma: float | None,
    raw_uncertainty: bool,
    reference: Path | None,
    batch: int | None,
    replay_path: Path | None,
    dry_run: bool,
    overwrite: bool,
    quiet: bool,
    **_others: object,
) -> str | None:
    """Translate the T2-weighted MR of the folder STUDY to a synthetic CT in the new folder OUT.

    STUDY may also be a NIfTI or MetaImage file (.nii.gz, .nii, .mha, .mhd) of one axial T2-weighted MR. OUT is NAME-sct in
    the current folder where it is not given, NAME being STUDY's. It will hold the mean as a DICOM CT series (sct/), its
    standard deviation as a DICOM Parametric Map (std.dcm), both as NIfTI, pictures, a report
    (report.html) that says whether to trust it, and run.json; of a file, which has
    no patient to write them for, no DICOM, and the volumes in its own format. With --all STUDY is a folder of studies, and
    OUT one of results. For research use only.
    """
    # DICOM and array libraries take a second to import, which --help has not
    from mrct_runtime.bundle import Bundle
    from mrct_runtime.filling import Order
    from mrct_runtime.many.studies import refuse_the_study, study_name
    from mrct_runtime.replaying import Replay
    from mrct_runtime.result import REPORT, claim
    from mrct_runtime.settings import Settings
    from mrct_runtime.translate import open_meanwhile, prepare

    asked = many(context)
    teller = Teller(quiet)
    tell = teller.tell
    replay = None if replay_path is None else Replay.of(replay_path)
    wanted = outputs(context)
    path = bundle_path or _demonstration(sampler or Settings.sampler, replay, tell)
    bundle = Bundle.load(path, bundle_sha256)
    settings = Settings(
        sampler=sampler or bundle.sampler,
        mc=mc,
        seed=seed,
        batch=batch,
        options=chosen(context),
        recipe=published(recipe),
        target=target(context),
        raw_uncertainty=raw_uncertainty,
        mc_tolerance_hu=mc_tolerance,
        branch_at=branch_at,
        antithetic=antithetic,
        warm_start=_warm_start(warm_start, warm_sigma),
    )
    if replay is not None:
        settings = replayed(context, replay, bundle, settings)
    command = tuple(anonymous(context, _PLACEHOLDERS, SHARING))
    order = Order(bundle, settings, series, command, wanted, reference, replay)
    if asked is not None:
        if out is None or dry_run or reference is not None or replay is not None:
            raise UsageError(
                "--all takes a folder OUT for the results, and neither --dry-run nor --reference nor --replay"
            )
        translate_many(order, study, out, asked, overwrite=overwrite, quiet=quiet)
        return None
    if dry_run:
        job = prepare(bundle, study, settings, series=series)
        wanted.check(job.source)
        click.echo("\n".join([*plan_lines(job), *estimate_lines(job)]))
        _warn(job.warnings)
        return passed("this is the plan; nothing was written")
    # studies' folders are often named after patients
    name = "deidentified" if wanted.deidentify else study_name(study.resolve())
    place = out or Path(f"{name}-sct")
    refuse_the_study(place, study)
    with (
        claim(place, overwrite=overwrite) as folder,
        open_meanwhile(bundle, settings, tell) as opened,
    ):
        ending().so_far = partial(_kept, folder.journal, teller)
        result = order.fill(folder, study, lambda: closing(opened()), teller)
        folder.commit()
    _warn(wanted.warnings(result))
    same = "" if replay is None else "every voxel is that of the run; "
    return passed(f"{same}wrote {place}: look at {place / REPORT}")


def _kept(journal: Path, teller: Teller) -> str | None:
    """The last line of a run that is broken off now; None where nothing is kept."""
    from mrct_runtime.journal import kept_slices

    slices = kept_slices(journal)
    of = "" if teller.slices is None else f" of {teller.slices}"
    return unfinished(f"{slices}{of} slices are kept; the same command goes on") if slices else None


def _warm_start(path: Path | None, sigma: float | None) -> WarmStart | None:
    from mrct_runtime.bundle import Bundle
    from mrct_runtime.warm_start import WarmStart

    if path is None:
        if sigma is not None:
            raise UsageError("--warm-sigma is the noise of a warm start: give --warm-start")
        return None
    return WarmStart(Bundle.load(path), sigma)


def _demonstration(sampler: str, replay: Replay | None, tell: Callable[[str], None]) -> Path:
    """The one that the run of a replay had, or the sampler's."""
    from mrct_runtime.demonstration import demonstration_bundle, demonstration_named

    named = None if replay is None else demonstration_named(replay.model)
    path = named or demonstration_bundle(sampler)
    tell(
        f"no --bundle given: {path.name} is a demonstration model trained on phantoms, "
        "not on patients"
    )
    return path


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        to_stderr(f"mrct: warning: {warning}")
