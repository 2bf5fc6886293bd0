"""Where ONNX Runtime's time goes on the CPU: the share of each operator, by its own profiler."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np


def profile(model: bytes, size: int, batch: int, threads: int, runs: int) -> dict[str, float]:
    """The share of each operator in the time of all nodes, the largest first; the first run is left out."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        rng = np.random.default_rng(0)
        shapes = {"x": (batch, 1, size, size), "y": (batch, 1, size, size), "t": (batch,)}
        inputs = {
            value.name: rng.random(shapes[value.name], np.float32) for value in session.get_inputs()
        }
        for _ in range(runs + 1):
            session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    return shares(events)


def shares(events: list[dict[str, object]]) -> dict[str, float]:
    """The share of each operator in the nodes' time, from a profile's events, those before the first run's end left out."""
    ends = [e["ts"] + e["dur"] for e in events if e.get("name") == "model_run"]  # type: ignore[operator]
    spent: dict[str, float] = defaultdict(float)
    for event in events:
        if event.get("cat") == "Node" and str(event["name"]).endswith("_kernel_time"):
            if ends and event["ts"] < min(ends):  # type: ignore[operator]
                continue
            arguments = event["args"]
            assert isinstance(arguments, dict)
            spent[str(arguments["op_name"])] += float(str(event["dur"]))
    total = sum(spent.values())
    ordered = sorted(spent.items(), key=lambda item: -item[1])
    return {name: duration / total for name, duration in ordered}
