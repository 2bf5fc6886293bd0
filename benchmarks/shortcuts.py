"""What the shortcuts to a slice's samples cost: a shared first part, a warm start, antithetic noise.

On three generated pelves that no training saw, one slice each, with the demonstration networks. `deviation` is that of
the samples averaged over the body, `error` how far the mean of ten samples is from that of a hundred others (RMS in
the body): what more samples would still change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import numpy as np
from calibration import phantom
from machine import parser, report

from mrct_runtime.bundle import Bundle
from mrct_runtime.demonstration import demonstration_bundle
from mrct_runtime.engines import Engine
from mrct_runtime.engines.target import Target
from mrct_runtime.evaluation.cases import Case, Selection, load_case
from mrct_runtime.evaluation.scoring import Ruler, mean_std_hu
from mrct_runtime.paired import Preparation
from mrct_runtime.sampling import Sampling
from mrct_runtime.settings import Settings
from mrct_runtime.synthesis import Moments, synthesize
from mrct_runtime.warm_start import WarmStart

MC, MANY = 10, 100
RUNS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "demo-ddpm": (("ddpm", {"steps": 50}), ("dpmpp", {"steps": 10})),
    "demo-sde": (("em", {"steps": 50}), ("dpmpp", {"steps": 20})),
}
BRANCHES = (0.75, 0.5, 0.25, 0.1)
WIDTHS = (0.5, 1.0, 2.0, 4.0)
"""sigma_0 of a warm start in deviations of the training's CT."""


class Bench:
    """A bundle's network on the cases, with what is measured of a sampling."""

    def __init__(self, bundle: Bundle, engine: Engine, cases: Sequence[Case]) -> None:
        self.bundle, self.engine, self.cases = bundle, engine, cases

    def draw(self, case: Case, settings: Settings, **changes: Any) -> Moments:
        part = case.parts[0]
        sampling: Sampling = replace(settings.sampling(self.bundle, part.series), **changes)
        process = settings.process(self.bundle)
        return synthesize(self.engine, process, part.slices.mr, sampling, slices=part.places)

    def measure(self, settings: Settings, **changes: Any) -> dict[str, float]:
        """Evaluations, MAE and deviation, means over the cases."""
        rows = []
        for case in self.cases:
            found = self.draw(case, settings, **changes)
            scores = Ruler().scores(case, [found.mean], self.bundle.window)
            spread = mean_std_hu(case, [found], self.bundle.window)
            rows.append((found.evaluations / found.counts.sum(), scores["mae_hu"], spread))
        evaluations, mae, deviation = np.mean(np.array(rows, float), axis=0)
        return {
            "evaluations_a_sample": round(float(evaluations), 2),
            "mae_hu": round(float(mae), 2),
            "deviation_hu": round(float(deviation), 2),
        }

    def errors(self, settings: Settings) -> dict[str, dict[str, float]]:
        """Independent and antithetic noise: the error of the mean of ten, and their deviation."""
        found: dict[str, dict[str, float]] = {}
        for label, antithetic in (("independent", False), ("antithetic", True)):
            squares = []
            for case in self.cases:
                body = case.parts[0].slices.body
                many = self.draw(case, settings, mc=MANY, seed=1).mean
                few = self.draw(case, settings, antithetic=antithetic)
                squares.append(((few.mean - many)[body] ** 2).mean())
            rms = float(np.sqrt(np.mean(squares))) * self.bundle.window.width
            measured = self.measure(settings, antithetic=antithetic)
            found[f"{label} noise"] = measured | {"error_hu": round(rms, 2)}
        return found


def branches(bench: Bench, settings: Settings) -> Iterator[tuple[str, dict[str, float]]]:
    """Apart from the start, and shared down to each of BRANCHES."""
    whole = bench.measure(settings)
    yield "apart", whole
    for at in BRANCHES:
        found = bench.measure(replace(settings, branch_at=at))
        kept = found["deviation_hu"] / whole["deviation_hu"]
        yield f"shared until t = {at:g}", found | {"deviation_kept": round(kept, 3)}


def warm_starts(
    bench: Bench, settings: Settings, direct: Bundle
) -> Iterator[tuple[str, dict[str, float]]]:
    """From the direct network's image and noise of each of WIDTHS."""
    for widths in WIDTHS:
        sigma = widths * bench.bundle.manifest.training.deviation
        warm = WarmStart(direct, sigma)
        with warm.open(settings.target) as guess:
            found = bench.measure(replace(settings, warm_start=warm), guess=guess)
        yield f"warm start, sigma {sigma:.3g} ({widths:g} deviations of the CT)", found


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument(
        "--phantoms", default="61,62,63", help="numbers beyond the 60 of the training"
    )
    arguments = made.parse_args()
    target = Target("cpu", threads=arguments.threads)
    direct = Bundle.load(demonstration_bundle("direct"))
    figures: dict[str, Any] = {}
    for sampler, (name, runs) in zip(("ddpm", "em"), RUNS.items(), strict=True):
        bundle = Bundle.load(demonstration_bundle(sampler))
        preparation = Preparation(bundle.manifest.image, bundle.normalisation)
        numbers = [int(number) for number in arguments.phantoms.split(",")]
        cases = [load_case(phantom(k), preparation, Selection(slices=1)) for k in numbers]
        with ExitStack() as opened:
            engine = opened.enter_context(closing(bundle.open_engine(target)))
            bench = Bench(bundle, engine, cases)
            for method, options in runs:
                settings = Settings(method, MC, options=options, target=target)
                label = f"{name}, {method} {options['steps']}"
                if method == "dpmpp":
                    warm = dict(warm_starts(bench, settings, direct))
                    figures[label] = {"from pure noise": bench.measure(settings)} | warm
                else:
                    figures[label] = dict(branches(bench, settings))
                figures[label] |= bench.errors(settings)
                for row, values in figures[label].items():
                    print(f"{label:20} {row:55} {values}", flush=True)
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
