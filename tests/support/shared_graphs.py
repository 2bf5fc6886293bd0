"""Each network exported once: that an export gives the same bytes again is proven in tests/export/test_to_onnx.py."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from torch import nn

from mrct_export.to_onnx import Graph, to_onnx
from mrct_runtime.graph import GraphForm

_EXPORTED: dict[tuple[str, GraphForm, int], Graph] = {}
_OF_EVERY_MODULE = vars(nn.Module()).keys()


def shared_graph(network: nn.Module, form: GraphForm, multiple: int) -> Graph:
    """What `to_onnx` gives for this network, exported when it is first asked for."""
    key = identity(network), form, multiple
    if key not in _EXPORTED:
        _EXPORTED[key] = to_onnx(network, form, multiple)
    return _EXPORTED[key]


def identity(network: nn.Module) -> str:
    """A digest of the modules, of what each was made with, and of every weight."""
    found = hashlib.sha256()
    for name, module in network.named_modules():
        own = {key: made for key, made in vars(module).items() if key not in _OF_EVERY_MODULE}
        found.update(repr((name, type(module), own)).encode())
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        found.update(repr((name, tensor.shape, tensor.dtype)).encode())
        found.update(tensor.detach().contiguous().numpy().tobytes())
    return found.hexdigest()


@contextmanager
def graphs_shared() -> Iterator[None]:
    """Meanwhile an export to a bundle takes the graph that its network has given before."""
    with mock.patch("mrct_export.export.to_onnx", shared_graph):
        yield
