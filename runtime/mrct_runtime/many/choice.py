"""What a result's values depend on beside its study: two runs that share it are one, whatever process does which part."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from mrct_runtime.filling import Order
from mrct_runtime.report import told_of_sampling, told_of_uncertainty

# A result tells what it got, and not what was asked for: auto, or the fastest that loads.
_AS_ASKED: Final = {"backend": "engine", "precision": "precision"}


@dataclass(frozen=True)
class Choice:
    """The bundle and the settings, in the words of run.json."""

    facts: Mapping[str, Any]

    @classmethod
    def of(cls, order: Order) -> Self:
        """Those of a run."""
        bundle, settings, series = order.bundle, order.settings, order.series
        sampling = settings.sampling(bundle, "")
        manifest, started = bundle.manifest, settings.started(bundle)
        asked = {their: getattr(settings.target, our) for our, their in _AS_ASKED.items()}
        facts = {
            "bundle": {"name": manifest.name, "sha256": bundle.sha256},
            "sampling": told_of_sampling(settings.sampler, sampling, manifest, started),
            "uncertainty": told_of_uncertainty(settings.uncertainty(bundle)),
            "written": asdict(order.outputs),
            "engine": asked,
            "series_sha256": None
            if series is None
            else hashlib.sha256(series.encode()).hexdigest(),
        }
        # as a file has it: tuples are lists there
        return cls(json.loads(json.dumps(facts)))

    @property
    def digest(self) -> str:
        """sha256 of all of it."""
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()

    def differences(self, run: Mapping[str, Any]) -> list[str]:
        """What a result's run.json says that this choice does not; the series that was asked for is not in it."""
        return list(self._differences(run))

    def _differences(self, run: Mapping[str, Any]) -> Iterator[str]:
        if run["model"]["bundle_sha256"] != self.facts["bundle"]["sha256"]:
            yield f"bundle {run['model']['name']} (sha256 {run['model']['bundle_sha256'][:12]})"
        for part in ("sampling", "uncertainty", "written"):
            for name, value in self.facts[part].items():
                if run[part].get(name) != value:
                    yield f"{name} {run[part].get(name)}, not {value}"
        for name, value in self.facts["engine"].items():
            if value is not None and run["engine"].get(name) != value:
                yield f"{name} {run['engine'].get(name)}, not {value}"
