"""PyTorch's candidates beside a bundle's engines. Nothing here imports torch; the children do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from mrct_runtime.bench.candidates import CONVOLUTION, MATRIX_PRODUCT, Candidate

Compile: TypeAlias = Literal["none", "default", "max-autotune"]
"""How much torch.compile may search; `none` leaves it out."""

_SUBJECT: Final = "mrct_train.torch_subject:stand"
_PEAKS: Final = "mrct_train.torch_peaks:"

EAGER_FP32: Final = "PyTorch eager fp32"
EAGER_FP16: Final = "PyTorch eager fp16 channels_last"
_ON_GPU: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    (EAGER_FP32, {}),
    ("PyTorch eager TF32", {"precision": "tf32"}),
    (EAGER_FP16, {"precision": "fp16", "channels_last": True}),
)
_ON_CPU: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    (EAGER_FP32, {}),
    ("PyTorch eager fp32 channels_last", {"channels_last": True}),
)
_COMPILED_ON_GPU: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("fp32", {}),
    ("fp16 channels_last", {"precision": "fp16", "channels_last": True}),
)
_COMPILED_ON_CPU: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("fp32 channels_last", {"channels_last": True}),
)


def networks(
    bundle: Path, checkpoint: Path | None, device: str, threads: int, size: int, compile_: Compile
) -> list[Candidate]:
    """The bundle's network in PyTorch: eager, and compiled where that is asked for.

    Its weights are those of the checkpoint, or random ones of the recipe that stands in the bundle's card.
    """
    gpu = device.startswith("cuda")
    modes: list[tuple[str, dict[str, Any]]] = list(_ON_GPU if gpu else _ON_CPU)
    if compile_ != "none":
        suffix = "" if compile_ == "default" else f" ({compile_})"
        modes += [
            (f"torch.compile {name}{suffix}", {**mode, "compile": compile_})
            for name, mode in (_COMPILED_ON_GPU if gpu else _COMPILED_ON_CPU)
        ]
    common = {
        "bundle": str(bundle),
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "device": device,
        "threads": threads,
        "size": size,
    }
    return [
        Candidate(name, "pytorch", _SUBJECT, {**common, **_PLAIN, **mode}) for name, mode in modes
    ]


_PLAIN: Final = {"precision": "fp32", "channels_last": False, "compile": "none"}


def peaks(device: str, threads: int) -> list[Candidate]:
    """What PyTorch's libraries do best: a matrix product and a convolution of 256 channels, at each fast precision."""
    makers = ((MATRIX_PRODUCT, "product_stand"), (CONVOLUTION, "convolution_stand"))
    return [
        Candidate(
            f"{what} {precision}, PyTorch",
            "peak",
            _PEAKS + maker,
            {"device": device, "threads": threads, "precision": precision},
        )
        for what, maker in makers
        for precision in (("fp32", "tf32", "fp16") if device.startswith("cuda") else ("fp32",))
    ]
