"""Mutants by the thousand: what became of each, counted, and those kept at which mrct failed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from fuzzing.fork_server import MEGABYTES, SECONDS
from fuzzing.kinds import KINDS, Kind
from fuzzing.mutants import Mutant

README = Path(__file__).parents[3] / "README.md"
GOOD = ("right", "refused")
_CODES = frozenset(
    int(code)
    for row in re.findall(
        r"^\| ([\d, ]+) \|", README.read_text("utf-8").partition("## Exit codes")[2], re.MULTILINE
    )
    for code in row.split(",")
) - {1, 130, 143}
_MEMORY = ("MemoryError", "bad_alloc", "Cannot allocate memory", "out of memory")
_ERROR = "mrct: error: "


def make_seeds(place: Path, kinds: Iterable[Kind] = KINDS.values()) -> Path:
    """The folder, with a seed's folder for each kind."""
    for kind in kinds:
        (place / kind.name).mkdir(parents=True)
        kind.seed(place / kind.name)
    return place


@dataclass(frozen=True)
class Fate:
    """What became of a mutant: `end` is a word of the tally, `why` what to know where mrct is at fault."""

    kind: str
    number: int | None
    end: str
    code: int
    seconds: float
    megabytes: float
    mutant: str
    why: str = ""

    @property
    def good(self) -> bool:
        """Whether it ended with a right result, or refused by a documented code and one line."""
        return self.end in GOOD

    def __str__(self) -> str:
        return f"{self.kind} {self.number}: {self.end}, code {self.code}, {self.seconds:.1f} s, {self.megabytes:.0f} MB: {self.mutant}\n{self.why}"


def judged(kind: str, number: int | None, told: dict[str, Any]) -> Fate:
    """The fate that the server's answer tells of."""
    end, why = _end(told)
    mutant = str(Mutant(**told["mutant"])) if told["mutant"] else "not made"
    return Fate(kind, number, end, told["code"], told["seconds"], told["megabytes"], mutant, why)


def _end(told: dict[str, Any]) -> tuple[str, str]:
    code, err = told["code"], told["err"]
    lines = [line for line in err.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(_ERROR)]
    if told["hung"]:
        return "hang", err
    if told["megabytes"] > MEGABYTES or any(word in err for word in _MEMORY):
        return "memory", err
    if code < 0:
        return "crash", err
    if "Traceback (most recent call last)" in err + told["out"] or "internal: " in err:
        return "traceback", err
    if code and (code not in _CODES or len(errors) != 1 or lines[-1] != errors[0]):
        return "untold", err or told["out"]
    if code:
        return "refused", ""
    return _success(told)


def _success(told: dict[str, Any]) -> tuple[str, str]:
    found = told["result"] or "wrong: nothing"
    if not found.startswith("right "):
        return "wrong", found + told["err"]
    if told["mutant"]["like_the_seed"] and told["seed"] is not None and found != told["seed"]:
        return "wrong", f"gave {found[:300]} where the seed gives {told['seed'][:300]}"
    return "right", ""


class Server:
    """A fork server for some kinds, asked for one mutant after another."""

    def __init__(self, seeds: Path, place: Path, kinds: Iterable[str]) -> None:
        place.mkdir(parents=True)
        self.folder = place / "mutant"
        self._log = (place / "server.log").open("wb")
        support = Path(__file__).parents[1]
        path = os.pathsep.join([str(support), *filter(None, sys.path)])
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzzing.fork_server", str(seeds), str(place), *kinds],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **threads, "PYTHONPATH": path, "MPLBACKEND": "Agg"},
        )
        self._place = place
        self._answer()

    def ask(self, **asked: Any) -> dict[str, Any]:
        """The answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            told = (self._place / "server.log").read_text(errors="replace")[-3000:]
            raise RuntimeError(f"the fork server ended: {told}")
        found: dict[str, Any] = json.loads(line)
        return found

    def fate(self, kind: str, number: int) -> Fate:
        """What becomes of the mutant; one that took too long is tried once more, for others may have had the processor."""
        for _ in range(2):
            shutil.rmtree(self.folder, ignore_errors=True)
            told = self.ask(kind=kind, number=number)
            if not told["hung"]:
                break
        return judged(kind, number, told)

    def fate_of(self, kind: str, mutant: Mutant, seconds: float = SECONDS) -> Fate:
        """What becomes of the mutant that lies in this server's folder."""
        return judged(kind, None, self.ask(kind=kind, mutant=asdict(mutant), seconds=seconds))

    def close(self) -> None:
        """Ends it."""
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            assert pipe is not None
            pipe.close()
        self._process.wait()


@contextmanager
def server(seeds: Path, place: Path, kinds: Iterable[str]) -> Iterator[Server]:
    """A server as long as the block lasts."""
    found = Server(seeds, place, kinds)
    try:
        yield found
    finally:
        found.close()


@dataclass
class Tally:
    """Counts of fates by kind, and those that are mrct's faults."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[Fate] = field(default_factory=list)
    most_seconds: float = 0.0
    most_megabytes: float = 0.0

    def add(self, fate: Fate) -> None:
        """Takes a fate in."""
        self.counts.setdefault(fate.kind, Counter())[fate.end] += 1
        self.most_seconds = max(self.most_seconds, fate.seconds)
        self.most_megabytes = max(self.most_megabytes, fate.megabytes)
        if not fate.good:
            self.faults.append(fate)

    @property
    def total(self) -> Counter[str]:
        """Counts over all kinds."""
        return sum(self.counts.values(), Counter())

    def __str__(self) -> str:
        lines = [
            f"{sum(c.values()):6} {kind}: {_listed(c)}" for kind, c in sorted(self.counts.items())
        ]
        whole = f"{self.total.total():6} mutants: {_listed(self.total)}"
        most = (
            f"the longest took {self.most_seconds:.1f} s, the largest {self.most_megabytes:.0f} MB"
        )
        return "\n".join([*lines, whole, most])


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {end}" for end, count in counts.most_common())


def fuzz(seeds: Path, place: Path, wanted: Iterable[tuple[str, int]], workers: int = 2) -> Tally:
    """The tally of these mutants, (kind, number); the folders of those at which mrct failed are kept in `place`/kept."""
    tally, lock = Tally(), threading.Lock()
    parts: dict[bool, SimpleQueue[tuple[str, int]]] = {True: SimpleQueue(), False: SimpleQueue()}
    names: dict[bool, set[str]] = {True: set(), False: set()}
    for kind, number in wanted:
        parts[KINDS[kind].training].put((kind, number))
        names[KINDS[kind].training].add(kind)

    def work(worker: int) -> None:
        # torch alone takes more memory and time to fork than all else
        for training in (False, True):
            if not names[training]:
                continue
            own = place / f"worker-{worker}-{training}"
            with server(seeds, own, sorted(names[training])) as asked:
                while (next_one := _next(parts[training])) is not None:
                    fate = asked.fate(*next_one)
                    with lock:
                        tally.add(fate)
                        if not fate.good:
                            _keep(asked.folder, place / "kept" / f"{fate.kind} {fate.number}")

    with ThreadPoolExecutor(workers) as threads:
        for done in [threads.submit(work, k) for k in range(workers)]:
            done.result()
    return tally


def _next(queue: SimpleQueue[tuple[str, int]]) -> tuple[str, int] | None:
    try:
        return queue.get_nowait()
    except Empty:
        return None


def _keep(folder: Path, kept: Path) -> None:
    if folder.is_dir():
        shutil.copytree(folder, kept, dirs_exist_ok=True)


def spread(count: int) -> list[tuple[str, int]]:
    """At least `count` mutants over all kinds by their shares: (kind, number)."""
    shares = sum(kind.share for kind in KINDS.values())
    return [
        (kind.name, number)
        for kind in KINDS.values()
        for number in range(-(-count * kind.share // shares))
    ]
