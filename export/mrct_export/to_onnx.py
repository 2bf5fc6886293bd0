"""PyTorch to ONNX: one network evaluation as one file, free of what ties it to the machine it was made on."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import onnx
import torch
from torch import nn

from mrct_runtime.errors import MrctError
from mrct_runtime.graph import GraphForm, Tensor

OPSET: Final = 18
"""The opset that ONNX Runtime's CPU kernels fuse best; with 21 GroupNormalization falls apart, 8 to 18 % slower."""

_LARGEST: Final = 8192
_FORBIDDEN: Final = frozenset(
    {"Loop", "Scan", "If", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


@dataclass(frozen=True)
class Graph:
    """An exported network, its file's bytes still without metadata."""

    model: onnx.ModelProto

    def dumps(self, metadata: dict[str, str] | None = None) -> bytes:
        """The bytes of the file with these metadata_props; the same for the same weights and metadata."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        for key, value in sorted((metadata or {}).items()):
            model.metadata_props.add(key=key, value=value)
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    @property
    def half_weights(self) -> int:
        """How many numbers the file holds in float16."""
        half = onnx.TensorProto.FLOAT16
        return sum(math.prod(w.dims) for w in self.model.graph.initializer if w.data_type == half)

    @property
    def operators(self) -> list[str]:
        """The operator of every node."""
        return [node.op_type for node in self.model.graph.node]


def to_onnx(network: nn.Module, form: GraphForm, multiple: int) -> Graph:
    """The graph eps(x, y, t) or x0(y): images [batch, 1, height, width] and t [batch], float32, opset 18.

    Height and width are any multiples of `multiple`. The network is exported as it stands, in evaluation mode.
    """
    was_training = network.training
    network.eval()
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                tuple(_example(tensor, multiple) for tensor in form.inputs),
                dynamo=True,
                opset_version=OPSET,
                input_names=[tensor.name for tensor in form.inputs],
                output_names=[form.output.name],
                dynamic_shapes=_dynamic_shapes(form, multiple),
                verbose=False,
            )
    finally:
        network.train(was_training)
    assert program is not None
    model = program.model_proto
    _strip(model)
    _name_dimensions(model, form)
    onnx.checker.check_model(model, full_check=True)
    graph = Graph(model)
    if met := _FORBIDDEN.intersection(graph.operators):
        raise MrctError(
            f"the exported graph holds {sorted(met)}; a network is one plain evaluation"
        )
    return graph


def _example(tensor: Tensor, multiple: int) -> torch.Tensor:
    # Two different sizes, neither of them 1: the exporter makes constants of sizes 0 and 1.
    sizes = {"batch": 2, "height": 4 * multiple, "width": 6 * multiple}
    return torch.zeros([sizes[dim] if isinstance(dim, str) else dim for dim in tensor.shape])


def _dynamic_shapes(form: GraphForm, multiple: int) -> tuple[dict[int, Any], ...]:
    dims = {
        "batch": torch.export.Dim("batch", min=1, max=_LARGEST),
        "height": multiple * torch.export.Dim("rows", min=1, max=_LARGEST // multiple),
        "width": multiple * torch.export.Dim("columns", min=1, max=_LARGEST // multiple),
    }
    return tuple(
        {index: dims[dim] for index, dim in enumerate(tensor.shape) if isinstance(dim, str)}
        for tensor in form.inputs
    )


def _strip(model: onnx.ModelProto) -> None:
    """Removes notes of the exporter: stack traces with this machine's paths, copies of the Python source."""
    graph = model.graph
    model.doc_string = graph.doc_string = ""
    del graph.value_info[:]
    for noted in _noted(model):
        del noted.metadata_props[:]
        if hasattr(noted, "doc_string"):
            noted.doc_string = ""


def _noted(model: onnx.ModelProto) -> Iterable[Any]:
    graph = model.graph
    yield from (model, graph)
    for part in (graph.node, graph.input, graph.output, graph.initializer):
        yield from part
    for node in graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _name_dimensions(model: onnx.ModelProto, form: GraphForm) -> None:
    """Calls the dynamic dimensions what the bundle calls them."""
    values = zip(
        (*model.graph.input, *model.graph.output), (*form.inputs, form.output), strict=True
    )
    for value, tensor in values:
        for dim, name in zip(value.type.tensor_type.shape.dim, tensor.shape, strict=True):
            if isinstance(name, str):
                dim.dim_param = name


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the exporter says about itself; a warning that is not listed here still comes through."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "# The axis name", UserWarning)
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        registration.setLevel(logging.ERROR)  # it reports that torchvision is absent
        try:
            yield
        finally:
            registration.setLevel(level)
