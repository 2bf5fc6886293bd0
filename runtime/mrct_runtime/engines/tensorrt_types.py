"""The types of a loaded engine's layers, as TensorRT's inspector tells them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from mrct_runtime.engines.tensorrt_library import Library
from mrct_runtime.errors import EngineError

_HALF: Final = re.compile(r"half|fp16|float16", re.IGNORECASE)
_TYPE: Final = re.compile(r"type", re.IGNORECASE)
_TENSORS: Final = ("Inputs", "Outputs")


def check_types(library: Library, engine: Any) -> None:
    """EngineError where an engine that should be in half precision has no layer that is.

    Only whether there is one: fused layers hide most types, and an engine whose inspector tells none passes.
    """
    inspector = engine.create_engine_inspector()
    told = inspector.get_engine_information(library.trt.LayerInformationFormat.JSON)
    types = list(_types(told))
    if types and not any(_HALF.search(each) for each in types):
        raise EngineError(
            f"{library} made an engine without a layer in half precision of the fp16 graph ({types[0]} only); "
            "take --precision fp32 or another backend"
        )


def _types(told: str) -> Iterator[str]:
    """What the inspector says about the types of layers' tensors; nothing where it is no JSON."""
    try:
        layers = json.loads(told).get("Layers", [])
    except (ValueError, AttributeError):
        return
    for layer in layers:
        if isinstance(layer, dict):
            for tensor in (each for kind in _TENSORS for each in layer.get(kind, [])):
                if isinstance(tensor, dict):
                    yield from (
                        value
                        for name, value in tensor.items()
                        if _TYPE.search(name) and isinstance(value, str)
                    )
