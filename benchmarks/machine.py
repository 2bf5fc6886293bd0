"""What a figure depends on beside the code: the machine, the versions and the command."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

from mrct_runtime.machine import processor, versions


def conditions() -> dict[str, Any]:
    """Processor, cores, system, versions and the command line."""
    script = Path(sys.argv[0]).name
    return {
        "command": shlex.join(["python", f"benchmarks/{script}", *sys.argv[1:]]),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions(),
    }


def parser(description: str) -> argparse.ArgumentParser:
    """An argument parser with the option that every benchmark has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--json", type=Path, help="write the figures to this file")
    return made


def report(figures: dict[str, Any], file: Path | None) -> None:
    """Writes the figures with their conditions, where a file is named."""
    write({"conditions": conditions(), "figures": figures}, file)


def write(document: dict[str, Any], file: Path | None) -> None:
    """Writes the document as JSON, where a file is named."""
    if file is not None:
        file.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
