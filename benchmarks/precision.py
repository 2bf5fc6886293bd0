"""Half precision made before the export, and by converters of finished graphs, on the same network and inputs.

Each file is run by ONNX Runtime on the CPU, which computes float16 nodes in float32 and rounds what lies between; it
leaves out round trips that it can prove to be useless, so all figures flatter, and alike. Relative RMS difference from
the float32 graph, the largest over ten times t.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from machine import parser, report

from mrct_export.parity import inputs, relative_rms
from mrct_runtime.bundle import Bundle
from mrct_runtime.demonstration import demonstration_bundle
from mrct_runtime.engines.onnxruntime import OnnxRuntime
from mrct_runtime.errors import MrctError

Convert = Callable[[onnx.ModelProto], onnx.ModelProto]


def onnxconverter_common(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnxconverter_common.float16 import convert_float_to_float16

    made: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True)
    return made


def onnxruntime_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    made: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True)
    return made


def modelopt_autocast(model: onnx.ModelProto) -> onnx.ModelProto:
    from modelopt.onnx.autocast import convert_to_mixed_precision

    rng = np.random.default_rng(0)
    images = {name: rng.random((1, 1, 64, 64), np.float32) for name in ("x", "y")}
    with tempfile.TemporaryDirectory() as folder:
        path, data = Path(folder) / "network.onnx", Path(folder) / "inputs.npz"
        onnx.save(model, path)
        # of itself it takes images of one pixel, which no UNet has
        np.savez(data, allow_pickle=False, **images, t=np.full(1, 0.5, np.float32))
        made: onnx.ModelProto = convert_to_mixed_precision(
            str(path), keep_io_types=True, calibration_data=str(data)
        )
    # shapes of the float32 graph, with which ONNX Runtime refuses the file
    del made.graph.value_info[:]
    return made


CONVERTERS: Final[dict[str, tuple[str, Convert]]] = {
    "onnxconverter-common": ("onnxconverter_common", onnxconverter_common),
    "onnxruntime.transformers.float16": ("onnxruntime", onnxruntime_float16),
    "ModelOpt AutoCast": ("modelopt", modelopt_autocast),
}


def differences(content: bytes, bundle: Bundle, threads: int) -> list[float]:
    """At ten times, one image of the network's own size, at most 128."""
    side = min(bundle.manifest.image.size, 128)
    whole = OnnxRuntime(bundle.network("fp32"), threads=threads)
    half = OnnxRuntime(content, threads=threads)
    process, found = bundle.process, []
    for seed, t in enumerate(np.linspace(process.t_min, process.t_max, 10).tolist()):
        case = inputs(process, np.full(1, t), (side, side), seed)
        expected = whole.bind(case.y)(case.x, t).copy()
        found.append(relative_rms(half.bind(case.y)(case.x, t).copy(), expected))
    return found


def row(name: str, content: bytes, bundle: Bundle, threads: int) -> dict[str, Any]:
    """What a file is, and how far it is off."""
    model = onnx.load_model_from_string(content)
    try:
        onnx.checker.check_model(model, full_check=True)
        sound = "valid"
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        sound = str(error).strip().splitlines()[0][:100]
    operators = Counter(node.op_type for node in model.graph.node)
    found: dict[str, Any] = {
        "made by": name,
        "megabytes": round(len(content) / 1e6, 2),
        "onnx.checker": sound,
        "casts": operators["Cast"],
    }
    try:
        off = differences(content, bundle, threads)
    except MrctError as error:
        return found | {"refused": str(error)}
    return found | {
        "largest": float(f"{np.max(off):.3g}"),
        "median": float(f"{np.median(off):.3g}"),
    }


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--bundle", type=Path, default=demonstration_bundle("em"))
    made.add_argument("--threads", type=int, default=1)
    arguments = made.parse_args()
    bundle = Bundle.load(arguments.bundle)
    rows = [row("mrct-export --fp16", bundle.network("fp16"), bundle, arguments.threads)]
    for name, (module, convert) in CONVERTERS.items():
        if importlib.util.find_spec(module) is None:
            rows.append({"made by": name, "refused": f"{module} is not installed"})
            continue
        model = onnx.load_model_from_string(bundle.network("fp32"))
        began = time.perf_counter()
        content = convert(model).SerializeToString()
        seconds = time.perf_counter() - began
        rows.append(row(name, content, bundle, arguments.threads) | {"seconds": round(seconds, 1)})
    for each in rows:
        print(each, flush=True)
    report({"network": bundle.manifest.name, "rows": rows}, arguments.json)


if __name__ == "__main__":
    main()
