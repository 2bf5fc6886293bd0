"""Digests made right again after a mutation, so that it is not found by them alone."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import onnx

from mrct_runtime.bundle import METADATA_KEY
from mrct_runtime.manifest import NOT_IN_THE_GRAPH
from mrct_runtime.report import digest_of_run

_BROKEN = (ValueError, RecursionError, KeyError, TypeError, AttributeError, OSError)


def seal_bundle(folder: Path, changed: str) -> None:
    """The manifest is laid out as mrct does, the graphs carry it, and it has the digests of the files."""
    place = folder / "tiny.mrct"
    with suppress(*_BROKEN):
        content = json.loads((place / "bundle.json").read_bytes())
        if changed.endswith("bundle.json"):
            _carry(place / "model.onnx", content)
        for name in content["files"]:
            content["files"][name] = _sha256(place / name)
        text = json.dumps(content, indent=1, sort_keys=True) + "\n"
        (place / "bundle.json").write_text(text)


def _carry(path: Path, content: dict[str, Any]) -> None:
    told = {key: value for key, value in content.items() if key not in NOT_IN_THE_GRAPH}
    model = onnx.ModelProto.FromString(path.read_bytes())
    for each in model.metadata_props:
        if each.key == METADATA_KEY:
            each.value = json.dumps(told, sort_keys=True, separators=(",", ":"))
    path.write_bytes(model.SerializeToString())


def seal_result(folder: Path, changed: str) -> None:
    """The run.json has the digest of the changed file, and its own."""
    path = folder / "out" / "run.json"
    with suppress(*_BROKEN):
        content = json.loads(path.read_bytes())
        name = str(Path(changed).relative_to("out"))
        if name in content["outputs"]:
            content["outputs"][name] = _sha256(folder / changed)
        content["sha256"] = digest_of_run(content)
        path.write_text(json.dumps(content, indent=2) + "\n")


def seal_checkpoint(folder: Path, changed: str) -> None:
    """The state has the digest of the changed file."""
    path = (folder / changed).parent / "state.json"
    with suppress(*_BROKEN):
        content = json.loads(path.read_bytes())
        if path.name not in changed:
            content["files"][Path(changed).name] = _sha256(folder / changed)
            path.write_text(json.dumps(content, indent=1) + "\n")


def seal_journal(folder: Path, changed: str) -> None:
    """The log has the digest of the changed slice."""
    path = folder / ".out.work" / "journal" / "log.jsonl"
    with suppress(*_BROKEN):
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        for line in lines:
            told = line.get("slice")
            if told and f"slice-{told['place'] + 1:04d}.npy" in changed:
                told["sha256"] = _sha256(folder / changed)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
