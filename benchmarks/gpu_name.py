"""The name of the first GPU that CuPy or PyTorch can use, fit for a folder's name; 7 and the reason where there is none."""

from __future__ import annotations

import re
import sys

from mrct_runtime.cuda import gpus, why_not
from mrct_runtime.machine import gpu_hint


def name() -> str | None:
    """What the first GPU is called; None where no library can use one."""
    if found := gpus():
        return found[0]
    try:
        import torch
    except ImportError:
        return None
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def main() -> None:
    found = name()
    if found is None:
        hint = "; ".join(gpu_hint())
        seen = f"; nvidia-smi sees {hint}" if hint else ""
        sys.exit(_told(f"no NVIDIA GPU that can be used here: {why_not()}{seen}"))
    print(re.sub(r"[^a-z0-9]+", "-", found.lower()).strip("-"))


def _told(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 7


if __name__ == "__main__":
    main()
