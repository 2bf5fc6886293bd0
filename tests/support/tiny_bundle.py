"""A bundle made without training: its network is the exact denoiser of pixels x_0 ~ N(y, 0.1^2), the MR as mean CT.

That of a direct process is their mean: x_0 = y.

The graph is built from ONNX operators by hand, so that tests of the runtime need no torch, and what it should compute
is known from the analytic engine.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mrct_export.bundle_writer import NOTICE, default_presets, write_bundle
from mrct_runtime.bundle import METADATA_KEY
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.golden import Golden
from mrct_runtime.graph import GRAPHS, GraphForm, parametrisation
from mrct_runtime.intensity import HuWindow, MrNormalisation
from mrct_runtime.manifest import (
    SCHEMA_VERSION,
    Domain,
    Image,
    Manifest,
    Method,
    Parity,
    ProcessSpec,
    SelfTest,
    Training,
)
from mrct_runtime.process import DDPM, VESDE, Direct

AnyProcess: TypeAlias = DDPM | VESDE | Direct
DEVIATION = 0.1
METHODS: dict[type[AnyProcess], Method] = {DDPM: "ddpm", VESDE: "sde", Direct: "cnn"}


def write_tiny_bundle(
    path: Path, process: AnyProcess | None = None, *, size: int = 16, spacing_mm: float = 2.0
) -> Path:
    """A valid bundle at `path`, the same bytes every time."""
    process = process or VESDE()
    manifest = tiny_manifest(path.stem, process, size, spacing_mm)
    path.mkdir(parents=True)
    model = tiny_model(process, {METADATA_KEY: manifest.graph_text()})
    models = {"fp32": model.SerializeToString()}
    write_bundle(path, manifest, models, tiny_golden(process), "method = 'none'")
    return path


def tiny_manifest(name: str, process: AnyProcess, size: int, spacing_mm: float) -> Manifest:
    gives = parametrisation(process)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        process=ProcessSpec.of(process),
        parametrisation=gives,
        image=Image(size=size, spacing_mm=spacing_mm, multiple=1),
        mr_normalisation=MrNormalisation(),
        hu_window=HuWindow(),
        prior_mean=0.25,
        presets=default_presets(process),
        uncertainty={},
        opset=18,
        inputs=GRAPHS[gives].inputs,
        outputs=(GRAPHS[gives].output,),
        parity=Parity(
            relative_rms=0.0,
            relative_max=0.0,
            response=1.0,
            times=(1.0,),
            batches=(1,),
            sizes=((8, 8),),
            reference="closed form",
            engine="none",
        ),
        self_test=SelfTest(relative_rms=1e-4),
        half=None,
        training=Training(
            method=METHODS[type(process)],
            recipe="none",
            data="no data: a closed form",
            fingerprint="none",
            subjects_sha256=(),
            subjects=0,
            slices=0,
            mean=0.25,
            deviation=DEVIATION,
            epochs=0,
            steps=0,
            seed=0,
            loss=0.0,
            seconds=0.0,
            parameters=0,
            checkpoint="0" * 64,
            version="0",
        ),
        domain=Domain(modality="MR", sequence="T2w TSE", anatomy="male pelvis"),
        licence="Apache-2.0",
        notice=NOTICE,
        files={},
    )


def tiny_golden(process: AnyProcess) -> Golden:
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 4, 1, 8, 6)).astype(np.float32)
    t = np.array([process.t_min, 0.1, 0.5, 1.0], np.float32)
    # The analytic engine looks a discrete process up at the float64 time; both round to the same level.
    output = Analytic(process).bind(y)(x, t.astype(np.float64)).astype(np.float32)
    gives = parametrisation(process)
    given = {"x": x, "y": y, "t": t}
    inputs = {tensor.name: given[tensor.name] for tensor in GRAPHS[gives].inputs}
    return Golden(gives, inputs, output)


def tiny_model(process: AnyProcess, metadata: dict[str, str]) -> onnx.ModelProto:
    """eps = std (x - alpha y) / (alpha^2 s^2 + std^2), alpha and std computed from t in the graph; or x0 = y."""
    graph = _Graph()
    if isinstance(process, Direct):
        graph.node("Identity", "y", output="x0")
        return graph.model(GRAPHS["image"], metadata)
    column = graph.node("Reshape", "t", graph.constant(np.array([-1, 1, 1, 1])))
    if isinstance(process, VESDE):
        log_sigma = math.log(process.sigma)
        power = graph.node("Exp", graph.node("Mul", column, graph.constant(2 * log_sigma)))
        excess = graph.node("Sub", power, graph.constant(1.0))
        variance = graph.node("Div", excess, graph.constant(2 * log_sigma))
        alpha = graph.constant(1.0)
    else:
        level = graph.node("Round", graph.node("Mul", column, graph.constant(float(process.steps))))
        index = graph.node("Cast", level, to=TensorProto.INT64)
        abar = graph.node("Gather", graph.constant(np.array(process.abar, np.float32)), index)
        variance = graph.node("Sub", graph.constant(1.0), abar)
        alpha = graph.node("Sqrt", abar)
    signal = graph.node("Mul", graph.constant(DEVIATION), alpha)
    total = graph.node("Add", graph.node("Mul", signal, signal), variance)
    residual = graph.node("Sub", "x", graph.node("Mul", alpha, "y"))
    scaled = graph.node("Mul", residual, graph.node("Sqrt", variance))
    graph.node("Div", scaled, total, output="eps")
    return graph.model(GRAPHS["eps"], metadata)


class _Graph:
    """Nodes and constants, each named by its position."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any) -> str:
        array = np.asarray(value, np.float32) if isinstance(value, float) else np.asarray(value)
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def model(self, form: GraphForm, metadata: dict[str, str]) -> onnx.ModelProto:
        *inputs, output = (
            helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.shape)
            for tensor in (*form.inputs, form.output)
        )
        graph = helper.make_graph(self.nodes, "tiny", inputs, [output], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        for key, value in metadata.items():
            model.metadata_props.add(key=key, value=value)
        onnx.checker.check_model(model, full_check=True)
        return model
