from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "cupy",
    "tensorrt",
    "tensorrt_rtx",
    "highdicom",
    "scipy",
    "matplotlib",
)


def test_importing_the_runtime_loads_no_framework() -> None:
    code = (
        "import sys, mrct_runtime, mrct_runtime.samplers, mrct_runtime.engines, "
        "mrct_runtime.synthesis, mrct_runtime.bundle\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_nodes_modules_load_without_pynetdicom() -> None:
    code = (
        "import sys, mrct_runtime.node.service, mrct_runtime.node.leash\n"
        "print('pynetdicom' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
