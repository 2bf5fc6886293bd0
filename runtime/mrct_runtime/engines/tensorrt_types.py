"""The types of a loaded engine's layers, as TensorRT's inspector tells them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from mrct_runtime.engines.tensorrt_library import Library
from mrct_runtime.errors import EngineError

_HALF: Final = re.compile(r"half|fp16|float16", re.IGNORECASE)
_CONVOLUTION: Final = re.compile(r"conv", re.IGNORECASE)
_TENSORS: Final = ("Inputs", "Outputs")


def check_types(library: Library, engine: Any) -> None:
    """EngineError where an engine that should be in half precision computes most of its convolutions in another type.

    Of those that the inspector shows: fused layers hide theirs, and where there is no inspector what was found at the
    build has to do.
    """
    inspector = engine.create_engine_inspector()
    if inspector is None:
        return
    told = inspector.get_engine_information(library.trt.LayerInformationFormat.JSON)
    shown = list(_convolutions(told))
    half = sum(bool(_HALF.search(types)) for types in shown)
    if 2 * half < len(shown):
        raise EngineError(
            f"{library} made an engine with {half} of {len(shown)} convolutions of the fp16 graph in half precision; "
            "take --precision fp32 or another backend"
        )


def _convolutions(told: str | None) -> Iterator[str]:
    """The types of the tensors of each layer that is a convolution; nothing where they are not told."""
    try:
        layers = json.loads(told or "").get("Layers", [])
    except (ValueError, AttributeError):
        return
    for layer in layers:
        if isinstance(layer, dict) and _CONVOLUTION.search(str(layer.get("LayerType"))):
            tensors = (each for kind in _TENSORS for each in layer.get(kind) or ())
            types = [
                str(value)
                for each in tensors
                if isinstance(each, dict)
                for name, value in each.items()
                if "type" in name.lower()
            ]
            if types:
                yield " ".join(types)
