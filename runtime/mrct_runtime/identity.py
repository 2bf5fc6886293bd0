"""What a result depends on, as one digest: two runs that share it give the same bits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from mrct_runtime import machine
from mrct_runtime.report import versions
from mrct_runtime.scratch import slices

if TYPE_CHECKING:
    from mrct_runtime.engines import Engine
    from mrct_runtime.job import Job
    from mrct_runtime.synthesis import Sampling


def identity(job: Job, engine: Engine, plan: Sampling) -> str:
    """sha256 over the network, its input, how it is sampled and by what; nothing of the patient can be read from it."""
    settings = job.settings
    facts = {
        "bundle": job.bundle.sha256,
        "sampling": repr(plan),
        "started": None if job.started is None else asdict(job.started),
        "raw": settings.raw_uncertainty,
        "computed by": computed_by(engine),
        "grid": job.source.volume.grid.affine.tolist(),
    }
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for array in (job.condition.array, job.body):
        found.update(str(array.shape).encode())
        for image in slices(array):
            found.update(np.ascontiguousarray(image).data)
    return found.hexdigest()


def computed_by(engine: Engine) -> Mapping[str, Any]:
    """The engine, the hardware under it and the software on the way: with another of them the last bits may differ."""
    on_gpu = engine.device.name != "cpu"
    return {
        "versions": {**machine.versions(), **versions()},
        "engine": asdict(engine.backend),
        "images": engine.max_batch,
        "device": engine.device.model,
        # on a GPU it still prepares what goes in
        "processor": machine.processor(),
        # kernels are compiled by it
        "driver": machine.driver() if on_gpu else None,
    }
