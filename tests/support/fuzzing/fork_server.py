"""A program that reads mutants, each in a process of its own, with everything imported before the first.

It is told on its standard input, in lines of JSON, and answers each with one. Forking costs milliseconds where starting
Python and importing costs seconds; a crash, a hang or a full memory is that of one mutant. The memory that a mutant may
take beside what the imports took is the system's limit on data, the time is watched from outside.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import select
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fuzzing.kinds import KINDS, Kind
from fuzzing.mutants import Mutant, mutate
from fuzzing.planted import PLANTED
from fuzzing.readers import READERS
from fuzzing.seeds import seeded
from mrct_cli import boundary, main

SECONDS = 5.0
MEGABYTES = 1536
_BROKEN_HARNESS = 70
_REFERENCE_SECONDS = 120.0


def command(words: str) -> int:
    """The exit code of a command line of mrct, or of a reader of the tests."""
    name, *arguments = shlex.split(words)
    found = READERS.get(name) or PLANTED.get(name) or main.load(name)
    return boundary.run(found, f"mrct {name}", arguments)


def apart(work: Callable[[], int], place: Path, seconds: float, megabytes: int) -> dict[str, Any]:
    """How the work ended in a forked process of limited time and memory; what it prints goes to files beside `place`."""
    began = time.monotonic()
    before = _kilobytes("VmRSS")
    child = os.fork()
    if child == 0:
        _end(_limited(work, place, megabytes))
    handle = os.pidfd_open(child)
    hung = not select.select([handle], [], [], seconds)[0]
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if hung:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    os.close(handle)
    return {
        "hung": hung,
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - began,
        "megabytes": max(0.0, (used.ru_maxrss - before) / 1024),
    }


def _end(code: int) -> None:
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _limited(work: Callable[[], int], place: Path, megabytes: int) -> int:
    os.setsid()
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(place.with_suffix(f".{name}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    most = (_kilobytes("VmData") + megabytes * 1024) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        return work()
    except BaseException:  # noqa: BLE001 - nothing should come out of mrct's border: the traceback tells that it did
        traceback.print_exc()
        return _BROKEN_HARNESS


def _kilobytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)


class Server:
    """Seeds in a folder, their results, and a place for mutants."""

    def __init__(self, seeds: Path, place: Path, names: list[str]) -> None:
        self.seeds, self.place = seeds, place
        self.kinds = {name: KINDS[name] for name in names}
        self.results: dict[str, str] = {}
        for kind in self.kinds.values():
            for line in dict.fromkeys(kind.commands):
                self._read_seed(kind, line)
        gc.collect()
        gc.freeze()

    def _read_seed(self, kind: Kind, line: str) -> None:
        """Keeps what the seed gives, and imports what that needed."""
        import shutil

        folder = self.place / "seed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.seeds / kind.name, folder)
        before = set(sys.modules)

        def work() -> int:
            code = _read(folder, self.seeds / kind.name, kind, line)
            told = "\n".join(sorted(set(sys.modules) - before))
            folder.with_suffix(".modules").write_text(told)
            return code

        end = apart(work, folder, _REFERENCE_SECONDS, MEGABYTES)
        told = folder.with_suffix(".err").read_text()
        code_of_seed = 8 if line.startswith("merge") else 0
        if end["code"] != code_of_seed or end["hung"]:
            raise SystemExit(f"the seed of {kind.name} is not read by {line}: {end} {told}")
        if code_of_seed == 0:
            self.results[f"{kind.name} {line}"] = folder.with_suffix(".result").read_text()
        for name in folder.with_suffix(".modules").read_text().splitlines():
            # it starts a thread where it is imported
            if not name.startswith("onnxruntime"):
                with suppress(Exception):
                    importlib.import_module(name)

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """How the mutant ended that was asked for, by its number or as a folder that is there with how it was made."""
        kind = self.kinds[asked["kind"]]
        folder = self.place / "mutant"
        made = folder.with_suffix(".made")
        result = folder.with_suffix(".result")
        for path in (made, result):
            path.unlink(missing_ok=True)

        def work() -> int:
            mutant = _mutant(kind, self.seeds / kind.name, folder, asked)
            made.write_text(json.dumps(asdict(mutant)))
            return _read(folder, self.seeds / kind.name, kind, mutant.command)

        end = apart(work, folder, asked.get("seconds", SECONDS), MEGABYTES)
        mutant = json.loads(made.read_text()) if made.exists() else None
        command = mutant["command"] if mutant else ""
        command = kind.commands[0] if command.startswith("planted-") else command
        seed = self.results.get(f"{kind.name} {command}")
        return end | {
            "mutant": mutant,
            "out": folder.with_suffix(".out").read_text(errors="replace")[-4000:],
            "err": folder.with_suffix(".err").read_text(errors="replace")[-8000:],
            "result": result.read_text() if result.exists() else None,
            "seed": seed,
        }


def _mutant(kind: Kind, seed: Path, folder: Path, asked: dict[str, Any]) -> Mutant:
    if "mutant" in asked:
        return Mutant(**asked["mutant"])
    return mutate(kind, seed, folder, seeded(kind.name, asked["number"]))


def _read(folder: Path, seed: Path, kind: Kind, line: str) -> int:
    """The command's exit code; what it gave is beside the folder where it ended well, and an AssertionError in its place."""
    os.chdir(folder)
    code = command(line.replace("SEED", shlex.quote(str(seed))))
    sys.stdout.flush()
    if code == 0:
        told = folder.with_suffix(".out").read_text()
        try:
            found = f"right {kind.result(folder, told)}"
        except AssertionError:
            found = f"wrong {traceback.format_exc()}"
        folder.with_suffix(".result").write_text(found)
    return code


def serve(seeds: Path, place: Path, names: list[str]) -> None:
    """Answers until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = Server(seeds, place, names)
    threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    if threads != 1:
        raise SystemExit(f"{threads} threads: a fork of them may hang by itself")
    answers.write(json.dumps({"ready": True}) + "\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(server.answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
