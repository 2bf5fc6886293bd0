"""The self-test of a bundle: an input of the network and the output that is right."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from mrct_runtime import npy
from mrct_runtime.arrays import Array
from mrct_runtime.engines import Engine
from mrct_runtime.errors import BundleError
from mrct_runtime.graph import GRAPHS, Parametrisation

GOLDEN: Final = "golden.npz"
GOLDEN_LIMIT: Final = 64 << 20
"""The most bytes that the file, or an array in it, may have."""

# What an entry of a zip archive's directory begins with, and the most of them: values may look like one.
_ENTRY: Final = b"PK\x01\x02"
_ENTRIES: Final = 64

# zipfile raises RuntimeError for an encrypted entry
_UNREADABLE: Final = (
    *(zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError),
    *(NotImplementedError, RuntimeError),
)


@dataclass(frozen=True, eq=False)
class Golden:
    """An input of the network and the output that training's framework gave: images [B, 1, H, W] and times [B].

    `inputs` and `output` are named as in the graph, which `gives` eps or the image; all are float32.
    """

    gives: Parametrisation
    inputs: Mapping[str, Array]
    output: Array

    def dumps(self) -> bytes:
        """The bytes of golden.npz, which holds the graph's tensors by name; the same for the same values."""
        buffer = io.BytesIO()
        output = {GRAPHS[self.gives].output.name: self.output}
        np.savez(buffer, allow_pickle=False, **self.inputs, **output)
        return buffer.getvalue()

    @classmethod
    def loads(cls, content: bytes, gives: Parametrisation) -> Golden:
        """The values in golden.npz, or a BundleError; float32 only, no pickles, no shape larger than its data."""
        names = GRAPHS[gives].names
        if content.count(_ENTRY) > _ENTRIES:
            # each would become an object as soon as the archive is opened
            raise BundleError(
                f"{GOLDEN} holds more than {_ENTRIES} files; {', '.join(names)} are needed"
            )
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                found = sorted(info.filename for info in archive.infolist())
                if found != sorted(f"{name}.npy" for name in names):
                    raise BundleError(f"{GOLDEN} holds {found}; {', '.join(names)} are needed")
                arrays = {name: _float32(archive, f"{name}.npy") for name in names}
        except _UNREADABLE as error:
            raise BundleError(f"{GOLDEN} is not a plain archive of float32 arrays") from error
        _check_shapes(arrays)
        output = arrays.pop(names[-1])
        return cls(gives, arrays, output)

    def run(self, engine: Engine) -> Array:
        """What an engine gives for the input; a direct network gets an x of zeros at t = 1, as from its sampler."""
        y = self.inputs["y"]
        x, t = self.inputs.get("x", np.zeros_like(y)), self.inputs.get("t", np.ones(len(y)))
        device = engine.device
        with device.running():
            denoise = engine.bind(device.xp.asarray(y))
            return device.to_host(denoise(device.xp.asarray(x), t.astype(np.float64)))

    def deviation(self, output: Array) -> float:
        """The largest relative RMS difference of a sample of `output` [B, 1, H, W]; infinite where it is not finite."""
        difference = np.square(output.astype(np.float64) - self.output).mean(axis=(1, 2, 3))
        power = np.square(self.output.astype(np.float64)).mean(axis=(1, 2, 3))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = float(np.sqrt(difference / power).max())
        return ratio if math.isfinite(ratio) else math.inf


def _check_shapes(arrays: Mapping[str, Array]) -> None:
    """BundleError where images or times do not belong together."""
    images = {name: array.shape for name, array in arrays.items() if name != "t"}
    shape = images["y"]
    if len(shape) != 4 or set(images.values()) != {shape}:
        raise BundleError(f"{GOLDEN}: {', '.join(images)} differ in shape or are not [B, 1, H, W]")
    if "t" in arrays and arrays["t"].shape != shape[:1]:
        raise BundleError(f"{GOLDEN}: t has shape {arrays['t'].shape}, not one value a sample")


def _float32(archive: zipfile.ZipFile, name: str) -> Array:
    """One array of an npz; its header is checked against its bytes before memory is taken."""
    entry = archive.getinfo(name)
    if entry.file_size > GOLDEN_LIMIT:
        raise ValueError("an array larger than a golden file may be")
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        # others take memory that a few bytes ask for
        raise ValueError("another compression than NumPy's")
    with archive.open(name) as file:
        found = npy.array(file.read(GOLDEN_LIMIT))
    if found.dtype != np.dtype("<f4") or not found.flags.c_contiguous:
        raise ValueError("not a float32 array in C order")
    return found
