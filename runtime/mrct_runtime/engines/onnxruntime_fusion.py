"""The network as ONNX Runtime's CUDA provider likes it: GroupNorm with its SiLU in one kernel, convolutions in NHWC.

Such a graph runs nowhere else, so it is made when the network is loaded and never shipped.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Final

from mrct_runtime.engines.target import Network
from mrct_runtime.errors import EngineError

FUSED: Final = ("GroupNorm", "SkipGroupNorm", "NhwcConv")
"""The operators, of the domain com.microsoft, that only GPUs have."""


def fused(network: Network) -> bytes:
    """The graph with its norms and convolutions fused; EngineError where the tools are missing or nothing could be."""
    try:
        from onnxruntime.transformers.optimizer import optimize_model
    except ImportError as error:
        raise EngineError(
            f"{error.name} is not installed, which fusing the graph needs: pip install 'mrct[gpu]'"
        ) from error
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder, "model.onnx")
        path.write_bytes(network.model)
        made = optimize_model(str(path), model_type="unet", use_gpu=True, opt_level=0)
    if not any(made.get_nodes_by_op_type(kind) for kind in FUSED):
        raise EngineError("ONNX Runtime found nothing to fuse in the graph")
    return bytes(made.model.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """The optimiser draws a progress bar and warns of what it leaves out."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
