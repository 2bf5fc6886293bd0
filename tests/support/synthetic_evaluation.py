"""An evaluation made up by hand: six runs, six subjects in two groups, and pictures of a skull-like disc."""

from __future__ import annotations

import numpy as np

from mrct_runtime.evaluation.bootstrap import METHOD, Bootstrap
from mrct_runtime.evaluation.calibration import Calibration, Voxels, calibration
from mrct_runtime.evaluation.results import (
    EVERYONE,
    Conditions,
    Data,
    Evaluation,
    Overall,
    Pictures,
    Run,
    State,
    SubjectScores,
)

BOOTSTRAP = Bootstrap(seed=3, resamples=200)
GROUPS = {"hospital A": ("A1", "A2", "A3", "A4"), "hospital B": ("B1", "B2")}

# label: method, sampler, mc, evaluations, seconds a slice, error of single and averaged images, deviation
_RUNS = {
    "DDPM": ("ddpm", "ddpm", 10, 1000.0, 410.0, 80.0, 60.0, 55.0),
    "EM": ("sde", "em", 10, 1000.0, 402.0, 78.0, 62.0, 41.0),
    "PC": ("sde", "pc", 10, 1000.0, 433.0, 77.0, 61.0, 40.0),
    "ODE": ("sde", "ode", 10, 148.5, 61.0, 90.0, 70.0, 62.0),
    "CNN": ("cnn", "direct", 1, 1.0, 0.04, 58.0, 58.0, None),
    "WGAN-GP": ("wgan-gp", "direct", 1, 1.0, 0.04, 75.0, 75.0, None),
}


def make_evaluation(groups=GROUPS, runs=tuple(_RUNS)) -> Evaluation:
    """Scores that follow from each run's error; the CNN is best by every error, DDPM-M by SSIM."""
    data = Data(
        name="made-up",
        subjects=sum(map(len, groups.values())),
        slices=40,
        groups={EVERYONE: tuple(name for names in groups.values() for name in names), **groups},
        body={name: "the data set's mask" for names in groups.values() for name in names},
        part="test",
        warnings=("B2: 3 voxels of the CT lie above 3071 HU",),
    )
    return Evaluation(_conditions(), data, tuple(_run(label, groups) for label in runs))


def make_pictures(labels=tuple(_RUNS), size=48, subject="A1", slice_=3) -> list[Pictures]:
    """One slice through the named runs: the truth, and what each run would make of it."""
    return [_pictures(label, size, subject, slice_) for label in labels]


def _conditions() -> Conditions:
    return Conditions(
        recipe="default",
        mc=10,
        seed=BOOTSTRAP.seed,
        outside="keep",
        range_2023_hu=(-1024.0, 3000.0),
        range_2025_hu=(-1024.0, 3071.0),
        air_below_hu=-200.0,
        bone_above_hu=250.0,
        confidence=BOOTSTRAP.confidence,
        bootstrap=METHOD,
        bootstrap_resamples=BOOTSTRAP.resamples,
        machine={"processor": "a made-up processor", "cores": 2, "accelerator": None},
        versions={"mrct": "0.0.0", "numpy": "2.0.0"},
        command=("mrct", "eval", "ddpm.mrct", "a <folder>"),
        finished="2025-01-02T03:04:05+00:00",
        notice="Synthetic CT for research use only: not for diagnosis, planning or dose calculation.",
    )


def _run(label, groups) -> Run:
    method, sampler, mc, evaluations, seconds, single, mean, std = _RUNS[label]
    rng = np.random.default_rng(list(label.encode()))
    subjects = []
    for group, names in groups.items():
        for name in names:
            shift = (ord(name[0]) - 65) * 12 + int(name[1:]) * 3 + rng.normal(0, 1.5)
            subjects.append(
                SubjectScores(
                    subject=name,
                    group=group,
                    slices=8,
                    dimensions=3,
                    single=_scores(single + shift, label),
                    mean=_scores(mean + shift, label),
                    mean_std_hu=None if std is None else std + shift / 4,
                    paper_std=None if std is None else (std + shift / 4) / 4095,
                    seconds_a_slice=seconds,
                )
            )
    overall = {EVERYONE: _overall(subjects)} | {
        group: _overall([one for one in subjects if one.group == group]) for group in groups
    }
    return Run(
        label=label,
        bundle=f"{method}.mrct",
        bundle_sha256="ab" * 32,
        method=method,
        sampler=sampler,
        options={"steps": 1000} if mc > 1 else {},
        mc=mc,
        evaluations_a_sample=evaluations,
        seconds_a_slice=seconds,
        subjects=tuple(subjects),
        overall=overall,
        calibration=make_calibrations(std, mean, mc) if std is not None else {},
    )


def make_calibrations(std: float, error: float, mc: int) -> dict[str, Calibration]:
    """Of a deviation that is too small, and of one that was scaled to be right."""
    rng = np.random.default_rng(5)
    voxels = []
    for _ in range(2):
        spread = rng.uniform(0.2, 1.8, 3000) * std
        hu = rng.choice((-900.0, 40.0, 900.0), 3000)
        voxels.append(Voxels(hu, spread, rng.normal(0, spread * error / std * 1.3)))
    scaled = [Voxels(one.mean_hu, one.std_hu * error / std * 1.3, one.error_hu) for one in voxels]
    return {
        "raw": calibration(voxels, mc, BOOTSTRAP),
        "recalibrated": calibration(scaled, mc, BOOTSTRAP),
    }


def _scores(mae: float, label: str) -> dict[str, float]:
    """A metric of every kind from one error; the CNN's SSIM is lower than its error deserves."""
    ssim = 1.0 - mae / 600 - (0.02 if label == "CNN" else 0.0)
    psnr = 20 * np.log10(4095 / (2.2 * mae))
    return {
        "paper_ssim": ssim,
        "paper_psnr": psnr - 3,
        "mae_hu": mae,
        "psnr_2023": psnr,
        "ssim_2023": ssim + 0.02,
        "psnr_2025": psnr + 0.1,
        "ms_ssim_2025": ssim + 0.05,
        "mae_air_hu": 1.5 * mae,
        "mae_soft_hu": 0.5 * mae,
        "mae_bone_hu": 2.5 * mae,
    }


def _overall(subjects) -> Overall:
    stds = [one.mean_std_hu for one in subjects if one.mean_std_hu is not None]
    paper = [one.paper_std for one in subjects if one.paper_std is not None]
    return Overall(
        subjects=len(subjects),
        single=_intervals([one.single for one in subjects]),
        mean=_intervals([one.mean for one in subjects]),
        mean_std_hu=BOOTSTRAP.interval(stds) if stds else None,
        paper_std=BOOTSTRAP.interval(paper) if paper else None,
    )


def _intervals(scores):
    return {metric: BOOTSTRAP.interval([one[metric] for one in scores]) for metric in scores[0]}


def _pictures(label, size, subject, slice_) -> Pictures:
    method, sampler, mc, *_, single, mean, std = _RUNS[label]
    del single
    rng = np.random.default_rng(list(label.encode()))
    truth, body = _head(size)
    noise = rng.normal(0, std or 0.0, (mc, size, size)) * body
    samples = (truth + mean * 0.8 * rng.normal(size=truth.shape) * body + noise).astype(np.float32)
    unit = np.clip((truth + 1024) / 4095, 0, 1)
    levels = (1.0, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1, 0.0) if mc > 1 else ()
    return Pictures(
        label=label,
        label_of_mean=f"{label}-M" if mc > 1 else label,
        method=method,
        sampler=sampler,
        subject=subject,
        slice=slice_,
        spacing_mm=1.0,
        mr=np.where(body, 0.6 - 0.4 * (truth > 300), 0).astype(np.float32),
        truth=truth,
        body=body,
        samples=samples,
        mean=samples.mean(axis=0),
        std=samples.std(axis=0, ddof=1) if mc > 1 else np.zeros_like(truth),
        states=tuple(
            State(t, (unit + 8 * t**2 * rng.normal(size=truth.shape)).astype(np.float32))
            for t in levels
        ),
    )


def _head(size: int):
    """A ring of bone around soft tissue in air, thicker on one side."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    radius = np.hypot(x, y * 0.85)
    truth = np.full((size, size), -1000.0, np.float32)
    truth[radius < 0.38] = 40.0
    truth[(radius < 0.38) & (np.hypot(x - 0.05, y * 0.85) > 0.33)] = 1100.0
    truth[np.hypot(x, y - 0.1) < 0.05] = -900.0
    return truth, radius < 0.4
