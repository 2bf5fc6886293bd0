"""mrct doctor: what this machine can run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mrct_cli.json_file import write_json
from mrct_cli.paths import PATH
from mrct_cli.verdict import passed, stdout_for_programs
from mrct_runtime.errors import EngineError

if TYPE_CHECKING:
    from mrct_runtime.doctor.examination import Examination, Verdict

_GIB = 1 << 30


@click.command()
@click.argument("bundle", type=PATH, required=False, metavar="[BUNDLE]")
@click.option(
    "--json",
    "json_file",
    type=PATH,
    metavar="FILE",
    help="Write the findings as JSON; - prints them.",
)
def doctor(bundle: Path | None, json_file: Path | None) -> str:
    """Tell what this machine can run, and try every backend on the network of BUNDLE.

    Without BUNDLE a demonstration model is taken. A backend is sound where it computes what the model's self-test asks
    for. Ends with 0 where at least one backend is sound, 7 where none is, 5 where BUNDLE is not valid.
    """
    from mrct_runtime.demonstration import demonstration_bundle
    from mrct_runtime.doctor.examination import examine
    from mrct_runtime.writable import require_file

    stdout_for_programs(wanted=str(json_file) == "-")
    if json_file is not None:
        require_file(json_file)
    found = examine(bundle or demonstration_bundle("em"), lambda line: click.echo(line, err=True))
    if json_file is not None:
        write_json(document(found), json_file)
    if json_file is None or str(json_file) != "-":
        _print(found)
    if not found.sound:
        reasons = "; ".join(f"{v.backend} {v.precision}: {v.reason}" for v in found.verdicts)
        raise EngineError(f"no backend is sound ({reasons})")
    sound = [f"{each.backend} {each.precision}" for each in found.verdicts if each.sound]
    return passed(f"sound: {', '.join(sound)}")


def document(found: Examination) -> dict[str, Any]:
    """The findings as JSON has them, every verdict with its word."""
    verdicts = [{"sound": verdict.sound, **asdict(verdict)} for verdict in found.verdicts]
    return asdict(found) | {"sound": found.sound, "verdicts": verdicts}


def _print(found: Examination) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    facts = Table.grid(padding=(0, 2))
    for name, text in _facts(found):
        facts.add_row(name, escape(text))
    verdicts = Table("backend", "precision", "verdict", "", title_justify="left")
    for verdict in found.verdicts:
        word = "sound" if verdict.sound else "not usable"
        verdicts.add_row(verdict.backend, verdict.precision, word, escape(_told(verdict)))
    console.print(facts)
    console.print(verdicts)


def _facts(found: Examination) -> Iterator[tuple[str, str]]:
    machine = found.machine
    yield "versions", ", ".join(f"{name} {version}" for name, version in found.versions.items())
    yield "bundle", f"{found.bundle}, sha256 {found.bundle_sha256}"
    yield "system", machine["system"]
    yield "processor", f"{machine['processor']}; {' '.join(machine['instructions'])}"
    yield "cores", f"{machine['cores']} for this process"
    yield "memory", f"{_gib(machine['free_memory'])} free of {_gib(machine['memory'])}"
    if found.cache_free is not None:
        yield "cache", f"{found.cache}, {_gib(found.cache_free)} free on its disk"
    if found.cache_reason:
        yield "cache", f"none: {found.cache_reason}"
    yield from _gpu_facts(found)
    if found.provider_reason:
        yield "ONNX Runtime", found.provider_reason
    for provider in found.providers:
        yield "provider", f"{provider.name}: {provider.reason or 'loads'}"


def _gpu_facts(found: Examination) -> Iterator[tuple[str, str]]:
    yield "driver", found.driver or "no NVIDIA driver is loaded"
    for number, gpu in enumerate(found.gpus):
        memory = f"{_gib(gpu.free_memory)} free of {_gib(gpu.memory)}"
        yield f"cuda:{number}", f"{gpu.name}, compute capability {gpu.compute_capability}, {memory}"
    if found.gpu_reason:
        yield "GPU", f"none that CuPy can use: {found.gpu_reason}"
    for line in found.gpu_hint:
        yield "nvidia-smi", line


def _told(verdict: Verdict) -> str:
    if verdict.deviation is None or verdict.self_test_ms is None or verdict.open_ms is None:
        return verdict.reason or ""
    return (
        f"on {verdict.device}: {verdict.deviation:.1e} off the golden output, {verdict.limit:.0e} allowed; "
        f"self-test {verdict.self_test_ms:.1f} ms, opened in {verdict.open_ms / 1e3:.1f} s"
    )


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
