"""The demonstration bundles on phantoms that they were not trained on: MAE, SSIM and time of each sampler.

DATA is the data set of the recipes (examples/recipes). The trivial predictor is the mean HU of the training CTs inside
the body, air outside. MAE is in HU inside the body; SSIM is that of slices in [0, 1], as the paper computes it.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import parser, report
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from mrct_runtime.bundle import Bundle
from mrct_runtime.demonstration import demonstration_bundle
from mrct_runtime.dicom.reading import read_pair
from mrct_runtime.intensity import AIR_HU, HuWindow
from mrct_runtime.samplers import sampler
from mrct_runtime.sampling import Sampling
from mrct_runtime.synthesis import synthesize
from mrct_runtime.translate import conditioned

STEPS: dict[str, tuple[int, ...]] = {
    "ddpm": (20, 50, 100),
    "em": (20, 50, 100),
    "pc": (20, 50, 100),
    "ddim": (10, 20, 50),
    "dpmpp": (10, 20, 50),
    "heun": (11, 21, 51),
    "unipc": (10, 20, 50),
}
SAFE_PREDICTOR = {"predictor": "reverse-diffusion"}
ODE_TOLERANCES = (1e-2, 1e-3)
MC = 10


class Case(NamedTuple):
    """Slices on the model grid: condition [S, N, N], CT in HU and body mask."""

    condition: NDArray[np.float64]
    ct: NDArray[np.float64]
    body: NDArray[np.bool_]


def cases(folders: list[Path], bundle: Bundle, stride: int) -> Case:
    """Every `stride`-th slice of these subjects."""
    parts: list[Case] = []
    for folder in folders:
        mr, ct = read_pair(folder)
        image = bundle.manifest.image
        condition, body, *_ = conditioned(mr.volume, bundle.normalisation, image)
        truth = ct.volume.canonical().resample(condition.grid, fill=AIR_HU)
        chosen = slice(stride // 2, None, stride)
        parts.append(Case(condition.array[chosen], truth.array[chosen].astype(float), body[chosen]))
    return Case(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def scores(hu: NDArray[np.float64], case: Case, window: HuWindow) -> dict[str, float]:
    """MAE in HU inside the body, and inside bone, and the mean SSIM of a slice."""
    error = abs(hu - case.ct)
    bone = case.body & (case.ct > 250)
    similarity = [
        structural_similarity(window.to_unit(a), window.to_unit(b), data_range=1.0)
        for a, b in zip(hu, case.ct, strict=True)
    ]
    return {
        "mae_hu": round(float(error[case.body].mean()), 1),
        "mae_bone_hu": round(float(error[bone].mean()), 1),
        "ssim": round(statistics.fmean(similarity), 4),
    }


def measure(
    bundle: Bundle, name: str, options: dict[str, Any], case: Case, engine: Any
) -> dict[str, Any]:
    """One row: scores of the mean of ten samples and of one, spread, evaluations and seconds a slice."""
    window = bundle.window

    def run(mc: int) -> tuple[NDArray[np.float64], Any, float]:
        plan = Sampling(sampler(name, options), mc=mc, prior_mean=bundle.manifest.prior_mean)
        started = time.perf_counter()
        moments = synthesize(engine, bundle.process, case.condition, plan)
        hu = window.to_hu(moments.mean.clip(0, 1))
        return hu, moments, time.perf_counter() - started

    mean_hu, moments, seconds = run(MC)
    single_hu, _, _ = run(1)
    return {
        "sampler": name,
        "options": options,
        "evaluations_a_sample": moments.evaluations / (MC * len(case.condition)),
        "mean_of_10": scores(mean_hu, case, window),
        "single": scores(single_hu, case, window),
        "mean_std_hu": round(float(moments.std[case.body].mean() * window.width), 1),
        "seconds_a_slice": round(seconds / len(case.condition), 2),
    }


def settings(name: str) -> list[dict[str, Any]]:
    """The options to be compared."""
    if name == "ode":
        return [{"steps": 1000, "rtol": tol, "atol": tol} for tol in ODE_TOLERANCES]
    plain: list[dict[str, Any]] = [{"steps": steps} for steps in STEPS[name]]
    safe = [SAFE_PREDICTOR | options for options in plain[:2]] if name in {"em", "pc"} else []
    return plain + safe


def trivial(data: Path, case: Case) -> NDArray[np.float64]:
    """The training CTs' mean inside the body, air outside."""
    values = []
    for folder in sorted((data / "train").iterdir())[:10]:
        ct = read_pair(folder)[1].volume.array
        values.append(float(ct[ct > -500].mean()))
    return np.where(case.body, statistics.fmean(values), AIR_HU)


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("data", type=Path, metavar="DATA")
    made.add_argument("--subjects", type=int, default=2)
    made.add_argument("--stride", type=int, default=12, help="every so many slices")
    made.add_argument("--samplers", default=",".join([*STEPS, "ode"]))
    made.add_argument("--bundle", type=Path, help="in place of the demonstration bundles")
    arguments = made.parse_args()
    folders = sorted((arguments.data / "test").iterdir())[: arguments.subjects]
    rows: list[dict[str, Any]] = []
    baseline: dict[str, float] = {}
    for name in arguments.samplers.split(","):
        bundle = Bundle.load(arguments.bundle or demonstration_bundle(name))
        case = cases(folders, bundle, arguments.stride)
        baseline = scores(trivial(arguments.data, case), case, bundle.window)
        engine = bundle.open_engine()
        for options in settings(name):
            rows.append(measure(bundle, name, options, case, engine))
            print(rows[-1], flush=True)
    print("trivial", baseline)
    report({"slices": len(case.ct), "trivial": baseline, "rows": rows}, arguments.json)


if __name__ == "__main__":
    main()
