"""Writes bundles, and rewrites what of a bundle may change later: presets, recalibrations, how the training's MR looked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

from mrct_runtime.appearance import Seen
from mrct_runtime.atomic import write_atomically
from mrct_runtime.bundle import CARD, MANIFEST, MODEL, MODELS, Bundle, check_preset
from mrct_runtime.engines.target import Precision
from mrct_runtime.errors import BundleError, UsageError
from mrct_runtime.evaluation.recalibration import Recalibration
from mrct_runtime.golden import GOLDEN, Golden
from mrct_runtime.graph import Parametrisation
from mrct_runtime.manifest import Half, Manifest
from mrct_runtime.output_folder import not_writable
from mrct_runtime.process import Process
from mrct_runtime.samplers import SAMPLERS, sampler
from mrct_runtime.structured_text import from_json, from_toml

Presets: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Sampler name -> options."""

NOTICE: Final = "For research use only: never a basis for diagnosis or treatment."


_WHAT_IT_IS: Final[Mapping[Parametrisation, str]] = {
    "eps": "A network that predicts the noise in a synthetic CT, given the MR slice. `mrct-infer` samples from it.",
    "image": "A network that gives the synthetic CT of an MR slice at once, one image without a deviation: "
    "`mrct-infer --sampler direct`.",
}


def default_presets(process: Process) -> dict[str, dict[str, Any]]:
    """Every sampler that serves the process, at its own number of evaluations."""
    return {
        name: {"steps": kind().steps}
        for name, kind in SAMPLERS.items()
        if isinstance(process, kind.families)
    }


def read_presets(path: Path) -> dict[str, dict[str, Any]]:
    """The presets in a TOML or JSON file; a table of options for each sampler."""
    try:
        text = path.read_text("utf-8")
        content = from_json(text) if path.suffix == ".json" else from_toml(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is neither TOML nor named .json: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise UsageError(f"{path} must hold a table of options for each sampler")
    return content


def check_presets(process: Process, presets: Presets) -> None:
    """UsageError where there are none, or for the first that its sampler would refuse."""
    if not presets:
        raise UsageError("the presets are empty; give at least one sampler a table of options")
    for name, options in presets.items():
        check_preset(process, name, options)


def check_uncertainty(process: Process, uncertainty: Mapping[str, Recalibration]) -> None:
    """UsageError for the first that is for a sampler or options that the network cannot have."""
    for name, fitted in uncertainty.items():
        check_preset(process, name, fitted.options)
        complete = asdict(cast("Any", sampler(name, fitted.options)))
        if complete != fitted.options:
            lacking = ", ".join(sorted(complete.keys() - fitted.options.keys()))
            raise UsageError(f"the recalibration of {name!r} lacks the options {lacking}")


def rewrite(
    path: str | Path,
    *,
    presets: Presets | None = None,
    sampler: str | None = None,
    uncertainty: Mapping[str, Recalibration | None] | None = None,
    seen: Seen | None = None,
    model_sha256: str | None = None,
) -> Bundle:
    """The bundle with these in place of its own, where given; only bundle.json is written, in one rename.

    Recalibrations are merged into those that the bundle has now: other samplers keep theirs, None takes one out.
    BundleError where `model_sha256`, the digest of the network that they were made with, is not that of the bundle.
    """
    bundle = Bundle.load(path)
    found = bundle.manifest.files[MODEL]
    if model_sha256 is not None and model_sha256 != found:
        raise BundleError(
            f"{path}: its network has the sha256 {found}, not {model_sha256}: it was replaced meanwhile; "
            "start again with the new one"
        )
    content = json.loads(bundle.manifest.dumps())
    if presets is not None:
        check_presets(bundle.process, presets)
        content["presets"] = {name: dict(options) for name, options in presets.items()}
    if sampler is not None:
        check_preset(bundle.process, sampler, content["presets"].get(sampler, {}))
        content["sampler"] = sampler
    if uncertainty is not None:
        merged: dict[str, Recalibration | None] = {**bundle.manifest.uncertainty, **uncertainty}
        kept = {name: fitted for name, fitted in merged.items() if fitted is not None}
        check_uncertainty(bundle.process, kept)
        content["uncertainty"] = {name: each.model_dump(mode="json") for name, each in kept.items()}
    if seen is not None:
        content["seen"] = seen.model_dump(mode="json")
    manifest = Manifest.model_validate_json(json.dumps(content).encode())
    _replace_manifest(bundle.path, manifest)
    return Bundle.load(path)


def _replace_manifest(folder: Path, manifest: Manifest) -> None:
    # Beside the bundle, not in it: an interrupted write must not leave a file that the bundle does not list.
    try:
        write_atomically(folder / MANIFEST, manifest.dumps(), beside=folder.absolute().parent)
    except OSError as error:
        raise not_writable(folder, error) from error


def write_bundle(
    folder: Path,
    manifest: Manifest,
    models: Mapping[Precision, bytes],
    golden: Golden,
    recipe: str,
) -> None:
    """Fills the folder: `manifest` gets the digests of the other files. `recipe` is the training's, as TOML."""
    contents = {MODELS[precision]: model for precision, model in models.items()}
    contents |= {GOLDEN: golden.dumps(), CARD: card(manifest, recipe).encode()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    contents[MANIFEST] = manifest.model_copy(update={"files": digests}).dumps().encode()
    try:
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise not_writable(folder, error) from error


def card(manifest: Manifest, recipe: str) -> str:
    """The model card, Markdown: what the network is for, what it was trained on, what was measured."""
    m, training, parity = manifest, manifest.training, manifest.parity
    settings = (f"{name} {value:g}" for name, value in m.process.parameters.items())
    return f"""# {m.name}

**{m.notice}**

{_WHAT_IT_IS[m.parametrisation]}

| | |
|---|---|
| takes | {m.domain.modality}, {m.domain.sequence}, {m.domain.anatomy} |
| grid | {m.image.size} x {m.image.size} pixels of {m.image.spacing_mm:g} mm |
| gives | CT, {m.hu_window.low:g} to {m.hu_window.high:g} HU |
| MR signal | percentiles {m.mr_normalisation.low_percentile:g} and {m.mr_normalisation.high_percentile:g} inside the body become 0 and 1 |
| bias correction of the MR | {m.mr_normalisation.bias_correction} |
| noise process | {": ".join(filter(None, (m.process.kind, ", ".join(settings))))} |
| samplers | {", ".join(m.presets)}; their settings stand in {MANIFEST} |
| licence | {m.licence} |

## Training

| | |
|---|---|
| method | {training.method} |
| recipe | {training.recipe} |
| data | {training.data} |
| subjects, slices | {training.subjects}, {training.slices} |
| sha256 of the slices | {training.fingerprint} |
| steps, epochs | {training.steps}, {training.epochs} |
| time | {training.seconds / 60:.0f} min |
| seed | {training.seed} |
| last training loss | {training.loss:.4g} |
| parameters | {training.parameters / 1e6:.2f} M |
| mean and deviation of the CT in [0, 1] | {training.mean:.4f}, {training.deviation:.4f} |
| sha256 of the weights | {training.checkpoint} |
| mrct | {training.version} |

The whole recipe:

```toml
{recipe.strip()}
```

## Export

ONNX opset {m.opset}. The largest difference of {parity.engine} from {parity.reference}, relative to the output's RMS:
{parity.relative_rms:.1e} (RMS), {parity.relative_max:.1e} (one pixel), at t of {_listed(parity.times)}, batches of
{_listed(parity.batches)}, and sizes of {", ".join(f"{h} x {w}" for h, w in parity.sizes)}. Another MR changes the output
by {parity.response:.2g}. Before an engine samples it has to reproduce {GOLDEN} to {m.self_test.relative_rms:g}.
{"" if m.half is None else _half_section(m.half)}"""


def _half_section(half: Half) -> str:
    rows = "\n".join(
        f"| {name} | {found.evaluations} | {found.difference_hu:.3g} | {found.limit_hu:.3g} |"
        for name, found in half.sampled.items()
    )
    nearest = min(half.margins, key=half.margins.__getitem__)
    return f"""
### Half precision

{MODELS["fp16"]} has its convolutions in float16, but {_named(half.kept)}; inputs, output, time embedding and the statistics
of norms are in float32 too. A call differs by at most {half.relative_rms:.1e} (relative RMS, t of {_listed(half.times)}). The largest
value on any sampler's way is met at `{nearest}`: float16 ends at {half.margins[nearest]:.3g} times that. An engine has to reproduce
{GOLDEN} to {half.self_test.relative_rms:g}. Samples of both precisions with the same noise, {half.slices}:

| sampler | evaluations | mean absolute difference, HU | Monte Carlo error, HU |
|---|---|---|---|
{rows}
"""


def _named(kept: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in kept) if kept else "for none"


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
