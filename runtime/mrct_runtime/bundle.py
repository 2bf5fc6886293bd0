"""A bundle: a directory with one network, checked before anything of it is used.

The bytes that were verified are the bytes that are loaded: every file is read once, its hash compared, and kept.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mrct_runtime.engines import Engine
from mrct_runtime.engines.selection import open_engine
from mrct_runtime.engines.target import Precision, Target
from mrct_runtime.errors import BundleError, NumericError, UsageError
from mrct_runtime.golden import GOLDEN, GOLDEN_LIMIT, Golden
from mrct_runtime.graph import Tensor
from mrct_runtime.intensity import HuWindow, MrNormalisation
from mrct_runtime.manifest import Manifest
from mrct_runtime.onnx_header import OnnxHeader, Signature, read_header
from mrct_runtime.process import Process
from mrct_runtime.samplers import SAMPLERS, sampler_class
from mrct_runtime.samplers import sampler as build_sampler
from mrct_runtime.samplers.checks import check_family

if TYPE_CHECKING:
    from mrct_runtime.result import Result

MANIFEST: Final = "bundle.json"
MODEL: Final = "model.onnx"
HALF_MODEL: Final = "model.fp16.onnx"
"""The network in mixed precision, where the manifest has `half`."""
CARD: Final = "card.md"
METADATA_KEY: Final = "mrct.manifest"
"""Where a graph carries its copy of the manifest."""

SIZE_LIMITS: Final[Mapping[str, int]] = {
    MANIFEST: 1 << 20,
    MODEL: (1 << 31) - 1,  # protobuf reads no larger message
    HALF_MODEL: (1 << 31) - 1,
    GOLDEN: GOLDEN_LIMIT,
    CARD: 1 << 20,
}
"""The files of a bundle and the most bytes each may have."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
MODELS: Final[Mapping[Precision, str]] = {"fp32": MODEL, "fp16": HALF_MODEL}
"""The network's file at each precision."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle: its manifest, and the bytes of its network and self-test."""

    path: Path
    manifest: Manifest
    sha256: str
    """Digest of bundle.json, which holds those of the other files: it identifies the whole bundle."""
    models: Mapping[Precision, bytes] = field(repr=False)
    """Precision -> ONNX graph."""
    golden: Golden = field(repr=False)

    @classmethod
    def load(cls, path: str | Path, sha256: str | None = None) -> Bundle:
        """The bundle in the directory `path`, every file verified; a BundleError names the first fault.

        Where `sha256` is given, any other bundle than the one with that digest is refused before its manifest is read.
        """
        path = Path(path)
        wanted = None if sha256 is None else _digest(sha256)
        names = _file_names(path)
        if MANIFEST not in names:
            raise BundleError(f"{path} is not a bundle: it has no {MANIFEST}")
        text = _read(path, MANIFEST)
        found = hashlib.sha256(text).hexdigest()
        if wanted not in {None, found}:
            raise BundleError(
                f"{path} is another bundle: its sha256 is {found}, asked for was {wanted}; use the bundle of that digest"
            )
        manifest = Manifest.loads(text, str(path / MANIFEST))
        _check_names(path, names, manifest)
        contents = {name: _verified(path, name, manifest) for name in manifest.files}
        models = {p: contents[name] for p, name in MODELS.items() if name in contents}
        for precision, model in models.items():
            _check_graph(path / MODELS[precision], read_header(model), manifest)
        golden = Golden.loads(contents[GOLDEN], manifest.parametrisation)
        return cls(path, manifest, found, models, golden)

    @property
    def process(self) -> Process:
        """The noise process that the network was trained for."""
        return self.manifest.process.build()

    @property
    def window(self) -> HuWindow:
        """The window that maps Hounsfield units to the network's [0, 1]."""
        return self.manifest.hu_window

    @property
    def normalisation(self) -> MrNormalisation:
        """How an MR is brought to the network's [0, 1]."""
        return self.manifest.mr_normalisation

    def preset(self, sampler: str) -> dict[str, Any]:
        """The options of `sampler` that suit this network, {} where none are stored; UsageError where it does not serve.

        A sampler may be younger than a bundle: its own defaults then stand, of which `has_preset` tells.
        """
        check_family(sampler_class(sampler), self.process)
        options = self.manifest.presets.get(sampler, {})
        try:
            check_preset(self.process, sampler, options)
        except UsageError as error:
            raise BundleError(f"{self.path / MANIFEST}: {error}") from error
        return dict(options)

    @property
    def sampler(self) -> str:
        """The sampler that is taken where none is named: what a tuning found best, else the first with a preset."""
        if self.manifest.sampler is not None:
            return self._checked(self.manifest.sampler)
        serving = [
            name for name, kind in SAMPLERS.items() if isinstance(self.process, kind.families)
        ]
        with_preset = [name for name in serving if self.has_preset(name)]
        return (with_preset or serving)[0]

    def _checked(self, sampler: str) -> str:
        try:
            check_family(sampler_class(sampler), self.process)
        except UsageError as error:
            raise BundleError(f"{self.path / MANIFEST}: {error}") from error
        return sampler

    def has_preset(self, sampler: str) -> bool:
        """False where `sampler` would run with defaults that know nothing of this network."""
        return sampler in self.manifest.presets

    def translate(
        self,
        study: str | Path,
        *,
        sampler: str | None = None,
        mc: int | tuple[int, int] | None = None,
        mc_tolerance: float | None = None,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        series: str | None = None,
        raw_uncertainty: bool = False,
    ) -> Result:
        """The synthetic CT of the study's axial T2w series, or of the one named by its UID or number.

        The bundle's own sampler is taken where none is named. `mc` are the samples of a slice, by default 10, and 1 of
        a direct network; or the fewest and the most of them, and a slice has enough where the standard error of its
        mean is at most `mc_tolerance` in HU. `raw_uncertainty` leaves the deviation as it is also where the bundle has
        a recalibration for it. Volumes lie in memory, about four of the study's size at a time; `mrct-infer` has large ones on
        the disk of its output.
        """
        from mrct_runtime.settings import Settings
        from mrct_runtime.translate import translate

        settings = Settings(
            sampler or self.sampler,
            mc,
            seed,
            options=options or {},
            raw_uncertainty=raw_uncertainty,
            mc_tolerance_hu=mc_tolerance,
        )
        return translate(self, study, settings, series=series)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those at which the bundle has the network."""
        return tuple(self.models)

    def network(self, precision: Precision) -> bytes:
        """The ONNX graph at this precision; UsageError where the bundle has none."""
        if precision not in self.models:
            raise UsageError(
                f"{self.path} has no {precision} network; it has {', '.join(self.precisions)}; "
                f"mrct-export --{precision} makes one from a training run"
            )
        return self.models[precision]

    def self_test_limit(self, precision: str) -> float:
        """The largest relative RMS difference from golden.npz that is sound at this precision."""
        half = self.manifest.half
        test = half.self_test if precision == "fp16" and half else self.manifest.self_test
        return test.relative_rms

    def open_engine(
        self, target: Target | None = None, tell: Callable[[str], None] = lambda _: None
    ) -> Engine:
        """The network loaded where `target` says, the CPU by default, after it has reproduced golden.npz there.

        EngineError where that cannot be had; `tell` is told in a line what was tried in vain. NumericError where it
        computes something else: then the backend is at fault, for the bytes are verified.
        """
        return open_engine(self, target or Target("cpu"), tell)

    def self_test(self, engine: Engine) -> float:
        """The relative RMS difference of the engine's output from golden.npz; NumericError where it is too large."""
        deviation = self.golden.deviation(self.golden.run(engine))
        limit = self.self_test_limit(engine.backend.precision)
        if deviation > limit:
            raise NumericError(
                f"{self.path}: {engine.backend.engine} computes something else than the trained network: "
                f"{deviation:.2g} (relative RMS) off the golden output, at most {limit:.2g} is sound; "
                "use another device or backend"
            )
        return deviation


def check_preset(process: Process, sampler: str, options: Mapping[str, Any]) -> None:
    """UsageError where the sampler is unknown, serves other processes, or does not take these options."""
    try:
        build_sampler(sampler, options).check(process)
    except (UsageError, TypeError) as error:
        raise UsageError(f"preset of {sampler!r}: {error}") from error


def _digest(text: str) -> str:
    """The digest in small letters; UsageError where it is none."""
    digest = text.strip().lower()
    if not _SHA256.fullmatch(digest):
        raise UsageError(
            f"{text!r} is no sha256 of a bundle: give the 64 hexadecimal digits that mrct doctor shows"
        )
    return digest


def _file_names(path: Path) -> set[str]:
    if not path.exists():
        raise BundleError(f"there is no bundle at {path}; give the path of a .mrct directory")
    if not path.is_dir():
        raise BundleError(f"{path} is a file; a bundle is a directory with {MANIFEST} in it")
    try:
        entries = list(path.iterdir())
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    for entry in entries:
        # A link could be pointed elsewhere after the check.
        if entry.is_symlink() or not entry.is_file():
            raise BundleError(f"{path} holds {entry.name!r}, which is not a plain file; remove it")
    return {entry.name for entry in entries}


def _check_names(path: Path, names: set[str], manifest: Manifest) -> None:
    known = set(SIZE_LIMITS) - {MANIFEST} - ({HALF_MODEL} if manifest.half is None else set())
    if listed := known ^ set(manifest.files):
        raise BundleError(
            f"{path / MANIFEST}: files must list {', '.join(sorted(known))}; see {min(listed)!r}"
        )
    if missing := known - names:
        raise BundleError(f"{path} lacks {min(missing)}; copy the bundle again")
    if extra := names - known - {MANIFEST}:
        raise BundleError(f"{path} holds {min(extra)!r}, which it does not list; remove it")


def _read(path: Path, name: str) -> bytes:
    limit = SIZE_LIMITS[name]
    try:
        with (path / name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise BundleError(
                    f"{path / name} has {size} bytes, at most {limit} are read; refused"
                )
            return file.read(size)
    except OSError as error:
        raise BundleError(f"{path / name} cannot be read: {error.strerror}") from error


def _verified(path: Path, name: str, manifest: Manifest) -> bytes:
    content = _read(path, name)
    found, listed = hashlib.sha256(content).hexdigest(), manifest.files[name]
    if found != listed:
        raise BundleError(
            f"{path / name} was changed: its sha256 is {found[:12]}..., {MANIFEST} lists {listed[:12]}...; "
            "copy the bundle again"
        )
    return content


def _check_graph(file: Path, header: OnnxHeader, manifest: Manifest) -> None:
    """The graph in the file has the opset, inputs and outputs that the manifest says, and was exported with that manifest."""
    if header.metadata.get(METADATA_KEY) != manifest.graph_text():
        raise BundleError(
            f"{file.parent}: {file.name} was not exported with this {MANIFEST}; export the bundle again"
        )
    if header.opset != manifest.opset:
        raise BundleError(f"{file} has opset {header.opset}, {MANIFEST} says {manifest.opset}")
    _check_tensors(file, header.inputs, manifest.inputs)
    _check_tensors(file, header.outputs, manifest.outputs)


def _check_tensors(file: Path, found: tuple[Signature, ...], said: tuple[Tensor, ...]) -> None:
    met = [(tensor.name, tensor.is_float32, tensor.shape) for tensor in found]
    wanted = [(tensor.name, True, tensor.shape) for tensor in said]
    if met != wanted:
        raise BundleError(f"{file} has the tensors {met}, {MANIFEST} says {wanted}")
