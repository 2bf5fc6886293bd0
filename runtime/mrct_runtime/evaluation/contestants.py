"""Contestants: every bundle with every sampler that serves it, each with a label of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

from mrct_runtime.bundle import Bundle
from mrct_runtime.errors import UsageError
from mrct_runtime.evaluation.results import averaged
from mrct_runtime.manifest import Method
from mrct_runtime.paired import Preparation
from mrct_runtime.process import Direct
from mrct_runtime.samplers import RECIPES, adapts, sampler_class
from mrct_runtime.samplers.checks import family_names
from mrct_runtime.sampling import Sampling
from mrct_runtime.settings import Settings

_TITLES: Final[Mapping[str, str]] = {"cnn": "CNN", "wgan-gp": "WGAN-GP"}


@dataclass(frozen=True, eq=False)
class Contestant:
    """A bundle with one of its samplers, ready to be run."""

    label: str
    bundle: Bundle
    settings: Settings

    @property
    def method(self) -> Method:
        """How the network was trained."""
        return self.bundle.manifest.training.method

    @property
    def preparation(self) -> Preparation:
        """How slices are prepared for it."""
        return Preparation(self.bundle.manifest.image, self.bundle.normalisation)

    def sampling(self, series: str) -> Sampling:
        """The settings resolved for one picture of a subject."""
        return self.settings.sampling(self.bundle, series)

    @property
    def mc(self) -> int:
        """Samples a slice; 1 of a direct network."""
        return self.sampling("").mc

    @property
    def prior_mean(self) -> float:
        """What its samples start around."""
        return self.sampling("").prior_mean

    @property
    def evaluations(self) -> int:
        """Network evaluations a sample; the most of them where the sampler adapts."""
        return self.sampling("").sampler.evaluations

    @property
    def label_of_mean(self) -> str:
        """The label of its averaged result."""
        return averaged(self.label, self.mc)

    @property
    def options(self) -> dict[str, Any]:
        """The sampler's options, every one of them."""
        return asdict(cast("Any", self.sampling("").sampler))


def contestants(
    bundles: Sequence[Bundle], samplers: Sequence[str] | None, settings: Settings
) -> tuple[Contestant, ...]:
    """The samplers, in their order, with each bundle that they serve; of None all for which a bundle has a preset.

    `settings` has the number of samples, seed, recipe and options; a direct network gives one sample and has none.
    A sampler that adapts keeps its own `steps`, a cap. UsageError for a sampler that is named twice or that no bundle
    serves, a bundle that none serves, and two bundles of one name.
    """
    _refuse_twins(bundles)
    _refuse_repeats(samplers or ())
    asked = samplers if samplers is not None else _presets(bundles)
    pairs = [(name, bundle) for name in asked for bundle in bundles if _serves(name, bundle)]
    for name in asked:
        if all(name != served for served, _ in pairs):
            raise UsageError(
                f"no bundle here serves the sampler {name}; leave it out of --samplers or add a bundle "
                f"of a {family_names(sampler_class(name))} model"
            )
    for bundle in bundles:
        if all(bundle is not served for _, served in pairs):
            raise UsageError(
                f"none of the samplers {', '.join(asked)} serves {bundle.manifest.name}; "
                "leave it out or add one of its samplers"
            )
    labels = [_title(name, bundle) for name, bundle in pairs]
    shared = {label for label, count in Counter(labels).items() if count > 1}
    found = tuple(
        Contestant(
            f"{label} ({bundle.manifest.name})" if label in shared else label,
            bundle,
            _settings(name, settings),
        )
        for label, (name, bundle) in zip(labels, pairs, strict=True)
    )
    for each in found:
        # options that do not fit are told before hours of another contestant
        each.sampling("")
    return found


def _settings(name: str, settings: Settings) -> Settings:
    """The settings for this sampler; one without a published recipe keeps the bundle's preset."""
    direct = Direct in sampler_class(name).families
    published = settings.recipe is not None and name in RECIPES[settings.recipe]
    return Settings(
        sampler=name,
        mc=1 if direct else settings.mc,
        seed=settings.seed,
        batch=settings.batch,
        options={} if direct else _options(name, settings.options),
        recipe=settings.recipe if published else None,
        target=settings.target,
    )


def _options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options; without `steps` where a tolerance rules and a few for the others would end it with an error."""
    without_steps = adapts(name)
    return {k: value for k, value in given.items() if not (without_steps and k == "steps")}


def _presets(bundles: Sequence[Bundle]) -> list[str]:
    return list(dict.fromkeys(name for bundle in bundles for name in bundle.manifest.presets))


def _serves(name: str, bundle: Bundle) -> bool:
    return isinstance(bundle.process, sampler_class(name).families)


def _title(name: str, bundle: Bundle) -> str:
    """What tables call it: the sampler, or the method of a network that needs none."""
    return _TITLES.get(bundle.manifest.training.method, name.upper())


def _refuse_repeats(samplers: Sequence[str]) -> None:
    """One twice would count every subject twice."""
    for name, count in Counter(samplers).items():
        if count > 1:
            raise UsageError(f"the sampler {name} is named {count} times; name each once")


def _refuse_twins(bundles: Sequence[Bundle]) -> None:
    names = Counter(bundle.manifest.name for bundle in bundles)
    name, count = max(names.items(), key=lambda item: item[1])
    if count > 1:
        raise UsageError(f"{count} bundles are named {name}; their results could not be told apart")
