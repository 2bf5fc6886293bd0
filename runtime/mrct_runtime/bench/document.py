"""What a measurement leaves: one JSON document of the machine, the command and every figure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from mrct_runtime.bench.candidates import CONVOLUTION, COPY, MATRIX_PRODUCT, Candidate, Kind
from mrct_runtime.bench.outcome import Outcome, Plan, Row, paired
from mrct_runtime.bench.slice_contest import SlicePlan, SliceRow
from mrct_runtime.bench.work import BYTES, Work
from mrct_runtime.bundle import MODEL, Bundle
from mrct_runtime.machine import gpu_state

SCHEMA: Final = 1


@dataclass(frozen=True, eq=False)
class Setting:
    """What was asked for, and where: `work` None where it cannot be counted, for the reason `no_work`."""

    bundle: Bundle
    size: int
    candidates: Sequence[Candidate]
    plan: Plan
    slice_plan: SlicePlan
    work: Work | None
    no_work: str | None
    conditions: dict[str, Any]
    """The machine, versions, GPUs and the command, as they are to stand in the document."""


def document(setting: Setting, outcome: Outcome, slices: Sequence[SliceRow]) -> dict[str, Any]:
    """Everything measured so far, in units that a reader takes as they are: ms, images a second, GFLOP/s."""
    bundle, plan = setting.bundle, setting.plan
    return {
        "schema": SCHEMA,
        **setting.conditions,
        "bundle": {
            "name": bundle.manifest.name,
            "sha256": bundle.sha256,
            "model_sha256": bundle.manifest.files[MODEL],
            "parameters": bundle.manifest.training.parameters,
            "size": setting.size,
            "gflop_an_image": None if setting.work is None else setting.work.flop / 1e9,
            "no_gflop": setting.no_work,
        },
        "plan": asdict(plan),
        "slice_plan": asdict(setting.slice_plan),
        "peaks": list(_peaks(setting, outcome)),
        "evaluations": list(_evaluations(setting, outcome)),
        "slices": [{**asdict(row), "slices_a_second": 1 / row.seconds} for row in slices],
        "memory": outcome.memory,
        "gpu_state": gpu_state(),
        "refused": [asdict(refusal) for refusal in outcome.refusals],
    }


def _peaks(setting: Setting, outcome: Outcome) -> Iterator[dict[str, Any]]:
    """Each peak once: the best batch's median, because none depends on the batch."""
    for candidate in setting.candidates:
        rows = [row for row in outcome.rows if row.candidate == candidate.name]
        if candidate.kind != "peak" or not rows:
            continue
        facts = outcome.facts[candidate.name]
        done = facts.get("flop") or facts["bytes"]
        unit = "gflop_s" if "flop" in facts else "gbyte_s"
        medians = [done / seconds / 1e9 for row in rows for seconds in row.medians]
        yield {
            "name": candidate.name,
            "device": facts["device"],
            "precision": facts["precision"],
            unit: statistics.median(medians),
            "rounds": medians,
        }


def _evaluations(setting: Setting, outcome: Outcome) -> Iterator[dict[str, Any]]:
    kinds = {candidate.name: candidate.kind for candidate in setting.candidates}
    for row in outcome.rows:
        if kinds[row.candidate] != "peak":
            yield _evaluation(row, kinds, setting, outcome)


def _evaluation(
    row: Row, kinds: Mapping[str, Kind], setting: Setting, outcome: Outcome
) -> dict[str, Any]:
    facts = outcome.facts[row.candidate]
    beside = {other.candidate: other for other in outcome.rows if other.batch == row.batch}
    return {
        "candidate": row.candidate,
        "kind": kinds[row.candidate],
        **facts,
        "batch": row.batch,
        "runs": row.runs,
        "p50_ms": 1e3 * row.p50,
        "p95_ms": _ms(row.p95),
        "p99_ms": _ms(row.p99),
        "images_a_second": row.batch / row.p50,
        **_against_peaks(row, facts["precision"], beside, setting.work, outcome),
        "times_as_fast_as": {
            name: paired(other, row)
            for name, other in beside.items()
            if kinds[name] == "pytorch" and name != row.candidate
        },
        "alone": row.alone,
        "first_run_ms": 1e3 * row.first,
        "warm_up_runs": row.warm_up_runs,
        "settled": row.settled,
        "rounds_ms": [1e3 * seconds for seconds in row.medians],
    }


def _against_peaks(
    row: Row, precision: str, beside: dict[str, Row], work: Work | None, outcome: Outcome
) -> dict[str, float | None]:
    """GFLOP/s; its shares of the best matrix product and convolution in the same rounds, and of the layer-wise roofline."""
    if work is None:
        return dict.fromkeys(
            ("gflop_s", "share_of_peak", "share_of_convolution", "share_of_roofline")
        )
    flop = row.batch * work.flop
    product = _best(f"{MATRIX_PRODUCT} {precision}", beside, outcome)
    convolution = _best(f"{CONVOLUTION} {precision}", beside, outcome)
    return {
        "gflop_s": flop / row.p50 / 1e9,
        "share_of_peak": product and flop / product.flop * paired(product.row, row),
        "share_of_convolution": convolution
        and flop / convolution.flop * paired(convolution.row, row),
        "share_of_roofline": product
        and _of_roofline(row, precision, (product, convolution), beside, work, outcome),
    }


class _Peak(NamedTuple):
    row: Row
    flop: int


def _best(prefix: str, beside: dict[str, Row], outcome: Outcome) -> _Peak | None:
    """The fastest of the peaks so called; libraries differ by half."""
    found = (
        _Peak(row, outcome.facts[name]["flop"])
        for name, row in beside.items()
        if name.startswith(prefix)
    )
    return max(found, key=lambda peak: peak.flop / peak.row.p50, default=None)


def _of_roofline(
    row: Row,
    precision: str,
    peaks: Sequence[_Peak | None],
    beside: dict[str, Row],
    work: Work,
    outcome: Outcome,
) -> float | None:
    """The share of the least time, by the fastest peak and the copy in the same rounds."""
    copy = beside.get(COPY)
    if copy is None:
        return None
    bandwidth = outcome.facts[COPY]["bytes"] / copy.p50
    flop_s = max(peak.flop / peak.row.p50 for peak in peaks if peak)
    return work.roofline(row.batch, flop_s, bandwidth, BYTES[precision]) / row.p50


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds
