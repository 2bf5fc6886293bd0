"""What is chosen for a run, and what comes of it with a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from mrct_runtime.bundle import Bundle
from mrct_runtime.engines.selection import check_device, expects_gpu
from mrct_runtime.engines.target import Target
from mrct_runtime.errors import UsageError
from mrct_runtime.process import Direct, Process
from mrct_runtime.samplers import recipe, sampler, sampler_class
from mrct_runtime.samplers.checks import check_family, check_positive
from mrct_runtime.sampling import Sampling
from mrct_runtime.stopping import Stopping
from mrct_runtime.uncertainty import Uncertainty
from mrct_runtime.warm_start import Started, WarmStart

# Rows of a batch are chosen so that a UNet's widest layers stay near a gigabyte. On a CPU larger batches gain nothing, and
# lose where images are small and a few fit its caches: 56 of 96 x 96 take 1.16 times as long an image as ten.
_PIXELS_A_BATCH = 1 << 19
_IMAGES_A_BATCH = 10
# Ten images of 512 x 512: a GPU is filled, and engines of one shape are built for the ten samples of a slice.
_PIXELS_A_GPU_BATCH = 10 * 512**2


@dataclass(frozen=True)
class Settings:
    """What is chosen for a run; what belongs to the model comes from its bundle.

    `options` are the sampler's own, over those of `recipe` (a published setting) or else of the bundle's preset.
    """

    sampler: str = "em"
    mc: int | tuple[int, int] | None = None
    """Samples a slice, or the fewest and the most of them; by default 10, and 1 of a direct network, which has no other."""
    seed: int = 0
    batch: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    recipe: str | None = None
    target: Target = field(default_factory=Target)
    """Where the network runs; its batch is that of the sampling."""
    raw_uncertainty: bool = False
    """The deviation as it is, also where the bundle has a recalibration for it."""
    warm_start: WarmStart | None = None
    """Where samples start, instead of pure noise."""
    mc_tolerance_hu: float | None = None
    """Between the fewest and the most samples, the standard error of the mean in HU at which a slice has enough."""
    branch_at: float | None = None
    """The network time until which the samples of a slice are one."""
    antithetic: bool = False
    """Samples in pairs that start on either side of the prior's mean."""

    def process(self, bundle: Bundle) -> Process:
        """The bundle's, from the warm start on where there is one."""
        return bundle.process if self.warm_start is None else self.warm_start.process(bundle)

    def started(self, bundle: Bundle) -> Started | None:
        """Where samples start, instead of pure noise."""
        return None if self.warm_start is None else self.warm_start.record(bundle)

    def uncertainty(self, bundle: Bundle) -> Uncertainty:
        """Whether and how the deviation is recalibrated."""
        fitted, raw = bundle.manifest.uncertainty, self.raw_uncertainty
        if self.warm_start is not None:
            return Uncertainty.warm(fitted, self.sampler, raw=raw)
        return Uncertainty.of(fitted, self.sampler, self.sampling(bundle, ""), raw=raw)

    def sampling(self, bundle: Bundle, series: str) -> Sampling:
        """The settings resolved against a bundle; UsageError where its model does not fit the sampler."""
        check_family(sampler_class(self.sampler), bundle.process)
        base = (
            bundle.preset(self.sampler)
            if self.recipe is None
            else recipe(self.recipe, self.sampler)
        )
        built = sampler(self.sampler, base | dict(self.options))
        mc, stopping = self._samples(bundle)
        size = bundle.manifest.image.size
        found = Sampling(
            built,
            mc=mc,
            seed=self.seed,
            batch=default_batch(size, gpu=expects_gpu(self.target))
            if self.batch is None
            else self.batch,
            # the published samplers start around 0
            prior_mean=bundle.manifest.prior_mean if self.recipe is None else 0.0,
            series=series,
            stopping=stopping,
            branch_at=self.branch_at,
            antithetic=self.antithetic,
        )
        found.check(self.process(bundle))
        return found

    def check(self, bundle: Bundle) -> None:
        """UsageError where the bundle does not serve these settings, EngineError where the device cannot be had."""
        self.sampling(bundle, "")
        check_device(self.target)

    def target_of(self, bundle: Bundle) -> Target:
        """Where the bundle's network is to run, with the batch of the sampling."""
        return replace(self.target, batch=self.sampling(bundle, "").batch)

    def record(self) -> dict[str, Any]:
        """The settings as JSON has them; a warm start's network is told by its digest."""
        warm = self.warm_start
        record = {each.name: getattr(self, each.name) for each in fields(self)}
        return record | {
            "options": dict(self.options),
            "target": asdict(self.target),
            "warm_start": None
            if warm is None
            else {"bundle_sha256": warm.bundle.sha256, "sigma": warm.sigma},
        }

    def notes(self, bundle: Bundle) -> tuple[str, ...]:
        """What is to be told of the choice: that the bundle has no preset for the sampler, where none was made."""
        if self.recipe is not None or "steps" in self.options or bundle.has_preset(self.sampler):
            return ()
        own = self.sampling(bundle, "").sampler.steps
        note = (
            f"{bundle.manifest.name} has no preset for the sampler {self.sampler}: it takes the sampler's own "
            f"{own} evaluations; `mrct tune` finds those that suit the network"
        )
        return (note,)

    def _samples(self, bundle: Bundle) -> tuple[int, Stopping | None]:
        """The most samples a slice, and when fewer are enough."""
        if isinstance(self.mc, tuple):
            return self._between(*self.mc, bundle)
        if self.mc_tolerance_hu is not None:
            raise UsageError(
                "mc_tolerance chooses between the fewest and the most samples: give mc as two numbers, such as 4..32"
            )
        if not isinstance(bundle.process, Direct):
            return Sampling.mc if self.mc is None else self.mc, None
        if self.mc is not None and self.mc > 1:
            raise UsageError(
                f"a direct network has one image of a slice, mc {self.mc} asks for more: leave mc out"
            )
        return 1 if self.mc is None else self.mc, None

    def _between(self, least: int, most: int, bundle: Bundle) -> tuple[int, Stopping]:
        if isinstance(bundle.process, Direct):
            raise UsageError(
                f"a direct network has one image of a slice, mc {least}..{most} asks for more: leave mc out"
            )
        if self.mc_tolerance_hu is None:
            raise UsageError(
                f"mc {least}..{most} needs mc_tolerance, the standard error of the mean in HU that is enough, such as 5"
            )
        check_positive("mc_tolerance", self.mc_tolerance_hu)
        return most, Stopping(least, self.mc_tolerance_hu / bundle.window.width)


def default_batch(size: int, *, gpu: bool) -> int:
    """Images of size x size at once, of several slices where the samples of one are fewer."""
    if gpu:
        return max(1, _PIXELS_A_GPU_BATCH // size**2)
    return max(1, min(_IMAGES_A_BATCH, _PIXELS_A_BATCH // size**2))
