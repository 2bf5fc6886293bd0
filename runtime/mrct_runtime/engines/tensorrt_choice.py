"""Which engine of the cache serves a network on a GPU, and the one that is built where none does."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from mrct_runtime.engines.cache import EngineCache, Key, Record
from mrct_runtime.engines.target import Network
from mrct_runtime.engines.tensorrt_build import MOST_BATCH, RECIPE, Shapes, build
from mrct_runtime.engines.tensorrt_library import Library

PORTABLE: Final = "portable"
"""The architecture of an engine for every compute capability from 8.0 on."""


class Gpu(NamedTuple):
    """A GPU as engines depend on it: its compute capability and what it is called."""

    capability: str
    model: str


class Chosen(NamedTuple):
    """An engine, its record, and whether it was built just now."""

    record: Record
    engine: bytes
    built: bool


def key(library: Library, network: Network, shapes: Shapes, architecture: str) -> Key:
    """What the engine of this network is kept under."""
    return Key(
        onnx_sha256=hashlib.sha256(network.model).hexdigest(),
        flavour=library.flavour.backend,
        version=library.version,
        architecture=architecture,
        precision=network.precision,
        opset=network.opset,
        batch=shapes.batches,
        height=shapes.height,
        width=shapes.width,
        trial=network.trial,
        recipe=RECIPE,
    )


def architecture(library: Library, gpu: Gpu | None, capabilities: Sequence[str] = ()) -> str:
    """The key's word for a GPU, for compute capabilities, or for neither. TensorRT itself builds for one model of GPU."""
    if gpu is not None:
        return gpu.capability if library.flavour.portable else f"{gpu.capability} {gpu.model}"
    return ",".join(sorted(capabilities, key=float)) or PORTABLE


def made(
    library: Library,
    network: Network,
    shapes: Shapes,
    gpu: Gpu | None,
    capabilities: Sequence[str] = (),
) -> Chosen:
    """The engine for just these shapes, and this GPU or these compute capabilities: from the cache, or into it."""
    cache, capabilities = EngineCache.open(), tuple(dict.fromkeys(capabilities))
    wanted = key(library, network, shapes, architecture(library, gpu, capabilities))
    if (found := cache.load(wanted)) is not None:
        return Chosen(*found, built=False)
    if gpu is not None and library.flavour.portable:
        capabilities = (gpu.capability,)
    network.tell(
        f"building the {network.precision} engine by {library}; it will be kept for the next time"
    )
    started = time.perf_counter()
    engine = build(library, network, shapes, capabilities)
    return Chosen(cache.store(wanted, engine, time.perf_counter() - started), engine, built=True)


def serving(library: Library, network: Network, batch: int, gpu: Gpu) -> Chosen:
    """The engine that is best for so many images at once on this GPU, of those that are there; else a new one."""
    shapes = Shapes.dynamic(network.size, batch)
    own = key(library, network, shapes, architecture(library, gpu))
    cache = EngineCache.open()
    there = (record.key for record in cache.records())
    fit = [found for found in there if _serves(found, own, batch, gpu.capability)]
    if fit:
        best = min(fit, key=lambda found: _rank(found, own, batch))
        if (loaded := cache.load(best)) is not None:
            return Chosen(*loaded, built=False)
    return made(library, network, shapes, gpu)


def _serves(found: Key, own: Key, batch: int, capability: str) -> bool:
    """Whether an engine runs on this GPU, and evaluates such a batch without filling it up."""
    if found.model_copy(update={"architecture": own.architecture, "batch": own.batch}) != own:
        return False
    least, _, most = found.batch
    if not (least <= batch and min(batch, MOST_BATCH) <= most):
        return False
    if found.architecture == PORTABLE:
        return float(capability) >= 8
    return found.architecture == own.architecture or capability in found.architecture.split(",")


def _rank(found: Key, own: Key, batch: int) -> tuple[int, bool, bool, bool]:
    """Smaller for what is nearer: tuned for the batch, of one shape, made for this GPU, for a few."""
    least, tuned, most = found.batch
    return (
        abs(tuned - batch),
        least != most,
        found.architecture != own.architecture,
        found.architecture == PORTABLE,
    )
