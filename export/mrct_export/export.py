"""From a training run to a bundle: export, prove, write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from torch import nn

from mrct_export.audit_slices import audit_slices
from mrct_export.bundle_writer import (
    NOTICE,
    Presets,
    check_presets,
    default_presets,
    write_bundle,
)
from mrct_export.half import GATE, MixedNetwork, half_weights, mixed_network
from mrct_export.parity import Gate, Plan, check, golden, measure
from mrct_export.to_onnx import OPSET, Graph, to_onnx
from mrct_runtime.bundle import MANIFEST, METADATA_KEY, Bundle
from mrct_runtime.engines.onnxruntime import OnnxRuntime
from mrct_runtime.engines.target import Precision, Target
from mrct_runtime.errors import NumericError, UsageError
from mrct_runtime.graph import GRAPHS, parametrisation
from mrct_runtime.manifest import (
    SCHEMA_VERSION,
    Domain,
    FileName,
    Half,
    Image,
    Manifest,
    Parity,
    ProcessSpec,
    SelfTest,
    Training,
)
from mrct_runtime.output_folder import OutputFolder
from mrct_runtime.process import Process
from mrct_train.checkpoint import load_network
from mrct_train.config import TrainConfig

SUFFIX = ".mrct"
SELF_TEST = SelfTest(relative_rms=1e-4)
"""Ten times the parity gate: another build of ONNX Runtime may round otherwise, half precision is far above."""
HALF_GATE = Gate(relative_rms=GATE, relative_max=20 * GATE)


def export(
    checkpoint: Path,
    destination: Path,
    *,
    presets: Presets | None = None,
    overwrite: bool = False,
    half: bool = False,
    audit: Path | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """The new bundle's directory, from a run or checkpoint folder of mrct-train, with its averaged (EMA) weights.

    It appears whole, verified and self-tested, or not at all: NumericError where the graph is not the network.
    `presets` stand for the samplers' own settings; `report` is told every stage. With `half` it holds the network in mixed
    precision as well, or NumericError says why not; it is audited on generated pelves and on the data set `audit`.
    """
    _check_name(destination)
    network, config, provenance = load_network(checkpoint)
    process = config.process
    presets = default_presets(process) if presets is None else presets
    check_presets(process, presets)
    replaces = MANIFEST if overwrite else None
    needed = (6 if half else 4) * int(provenance["parameters"]) + 2_000_000
    with OutputFolder.claim(destination, replaces=replaces, needed_bytes=needed) as output:
        # what is wrong with the data is told before the export, which takes minutes
        slices = audit_slices(config.preparation, audit) if half else None
        report(f"exporting {provenance['parameters'] / 1e6:.2f} M parameters to ONNX opset {OPSET}")
        graph = _graph(network, config)
        image = Image(size=config.size, spacing_mm=config.spacing_mm, multiple=config.unet.multiple)
        report("comparing the graph with the network")
        parity = _parity(network, graph, process, image, Gate())
        report(f"parity {parity.relative_rms:.1e} (relative RMS)")
        graphs: dict[Precision, Graph] = {"fp32": graph}
        measured = None
        if slices is not None:
            mixed = mixed_network(
                *(network, process, presets, slices, config.hu_window, provenance["mean"]), report
            )
            graphs["fp16"], measured = _half_graph(network, mixed, config, image), mixed.half
        manifest = _manifest(destination.stem, config, provenance, image, parity, measured, presets)
        text = {METADATA_KEY: manifest.graph_text()}
        models = {precision: each.dumps(text) for precision, each in graphs.items()}
        write_bundle(
            output.partial, manifest, models, golden(network, process, image), config.dumps()
        )
        written = Bundle.load(output.partial)
        for precision in written.precisions:
            written.open_engine(Target("cpu", precision=precision, threads=1)).close()
        return output.commit()


def _graph(network: nn.Module, config: TrainConfig) -> Graph:
    return to_onnx(network, GRAPHS[parametrisation(config.process)], config.unet.multiple)


def _parity(network: nn.Module, graph: Graph, process: Process, image: Image, gate: Gate) -> Parity:
    """How far the graph is from the network; NumericError where that is more than the gate lets through."""
    # One thread: the thread pools of PyTorch and ONNX Runtime spin against each other in one process.
    engine = OnnxRuntime(graph.dumps(), threads=1)
    try:
        parity = measure(network, engine, process, Plan.of(process, image))
    finally:
        engine.close()
    check(parity, gate)
    return parity


def _half_graph(
    network: nn.Module, mixed: MixedNetwork, config: TrainConfig, image: Image
) -> Graph:
    """The mixed network's graph; NumericError where it is not within the gate of the float32 network, or not in half."""
    graph = _graph(mixed.network, config)
    found, meant = graph.half_weights, half_weights(mixed.network)
    if found < meant:
        raise NumericError(
            f"the graph in half precision has {found} weights in float16, {meant} were meant to be: "
            "the exporter made another network; nothing was written"
        )
    _parity(network, graph, config.process, image, HALF_GATE)
    return graph


def _check_name(destination: Path) -> None:
    """UsageError where a bundle cannot have that name, which also stands in its manifest."""
    if destination.suffix != SUFFIX:
        raise UsageError(f"a bundle is named NAME{SUFFIX}, not {destination.name!r}")
    try:
        TypeAdapter(FileName).validate_python(destination.stem)
    except ValidationError as error:
        raise UsageError(
            f"a bundle cannot be named {destination.stem!r}; take letters a to z, digits, '.', '_' and '-', "
            "beginning with a letter or digit"
        ) from error


def _manifest(
    name: str,
    config: TrainConfig,
    provenance: dict[str, Any],
    image: Image,
    parity: Parity,
    half: Half | None,
    presets: Presets,
) -> Manifest:
    """The manifest without the digests of the files, which are not written yet."""
    gives = parametrisation(config.process)
    form = GRAPHS[gives]
    training = {field: provenance[field] for field in Training.model_fields}
    try:
        return Manifest(
            schema_version=SCHEMA_VERSION,
            name=name,
            process=ProcessSpec.of(config.process),
            parametrisation=gives,
            image=image,
            mr_normalisation=config.mr_normalisation,
            hu_window=config.hu_window,
            prior_mean=provenance["mean"],
            presets={sampler: dict(options) for sampler, options in presets.items()},
            uncertainty={},
            opset=OPSET,
            inputs=form.inputs,
            outputs=(form.output,),
            parity=parity,
            self_test=SELF_TEST,
            half=half,
            training=Training(**training),
            domain=Domain(**config.domain.model_dump()),
            seen=provenance["seen"],
            licence=config.licence,
            notice=NOTICE,
            files={},
        )
    except ValueError as error:  # a loss that is not finite
        raise NumericError(f"{name}: the manifest is not valid: {error}") from error
