"""Who takes part in a measurement: a bundle's engines, and the machine's own peaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from mrct_runtime.bundle import Bundle
from mrct_runtime.engines import ENGINES
from mrct_runtime.engines.target import Target

Kind: TypeAlias = Literal["engine", "pytorch", "peak"]

MATRIX_PRODUCT: Final = "matrix product"
CONVOLUTION: Final = "3x3 convolution"
COPY: Final = "copy"


@dataclass(frozen=True, eq=False)
class Candidate:
    """Something to be timed: `maker`, as module:attribute, makes its stand of `argument` in a child process."""

    name: str
    kind: Kind
    maker: str
    argument: Mapping[str, Any]


def engines(bundle: Bundle, target: Target, size: int) -> list[Candidate]:
    """Every backend that serves the target's device, at every precision of the bundle, or those that it names."""
    kind = target.device.partition(":")[0]
    precisions = (target.precision,) if target.precision else bundle.precisions
    return [
        Candidate(
            f"{name} {precision}",
            "engine",
            "mrct_runtime.bench.engine_subject:stand",
            {
                "bundle": str(bundle.path),
                "backend": name,
                "opener": entry.opener,
                "serves": entry.serves,
                "precision": precision,
                "device": target.device,
                "threads": target.threads,
                "batch": target.batch,
                "size": size,
            },
        )
        for name, entry in ENGINES.items()
        if entry.serves == kind and target.backend in {None, name}
        for precision in precisions
    ]


def peaks(device: str) -> list[Candidate]:
    """The matrix products at the precisions that the device is fast at, and a copy."""
    precisions = ("fp32", "fp16") if device.startswith("cuda") else ("fp32",)
    library = "CuPy" if device.startswith("cuda") else "NumPy"
    maker = "mrct_runtime.bench.peaks:stand"
    return [
        *(
            Candidate(
                f"{MATRIX_PRODUCT} {precision}, {library}",
                "peak",
                maker,
                {"device": device, "precision": precision},
            )
            for precision in precisions
        ),
        Candidate(COPY, "peak", maker, {"device": device}),
    ]


def threads_environment(threads: int) -> dict[str, str]:
    """What gives every library in a child so many threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return dict.fromkeys(names, str(threads))
