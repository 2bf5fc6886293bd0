"""The sampler of a network that needs none: one evaluation gives the image (CNN, GAN)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mrct_runtime.arrays import Array, Denoiser, NoiseSource
from mrct_runtime.errors import UsageError
from mrct_runtime.process import Direct, Process
from mrct_runtime.samplers.checks import check_family


@dataclass(frozen=True)
class OneEvaluation:
    """x_0(y). Nothing is random in it, so one sample a slice is all there is; `steps` is 1."""

    name: ClassVar[str] = "direct"
    families: ClassVar[tuple[type[Direct]]] = (Direct,)

    steps: int = 1

    def __post_init__(self) -> None:
        if self.steps != 1 or isinstance(self.steps, bool):
            raise UsageError(f"sampler direct takes 1 step, got {self.steps!r}: leave steps out")

    @property
    def evaluations(self) -> int:
        """Network evaluations a sample."""
        return self.steps

    def check(self, process: Process) -> None:
        """UsageError where the process is of another family."""
        check_family(self, process)

    def __call__(
        self,
        denoise: Denoiser,
        process: Direct,
        x: Array,
        noise: NoiseSource,  # noqa: ARG002 - nothing is random
    ) -> Array:
        """The image x_0 [B, 1, H, W] of the bound MR, whatever x is; not clipped."""
        self.check(process)
        # the denoiser's own array is valid until its next call only
        return denoise(x, process.t_max).copy()
