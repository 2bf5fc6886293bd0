"""A mutant: a seed's folder in which a file was changed, by what is drawn from a chance."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzzing.kinds import Kind

_SEALED = 0.7
_HARMLESS = 0.1


@dataclass(frozen=True)
class Mutant:
    """How a folder was changed and what is asked of it. `like_the_seed`: a success has to give what the seed gives."""

    command: str
    file: str
    mutations: tuple[str, ...]
    sealed: bool
    like_the_seed: bool

    def __str__(self) -> str:
        sealed = ", digests made right" if self.sealed else ""
        return f"{self.file}: {', '.join(self.mutations)}{sealed}; {self.command}"


def mutate(kind: Kind, seed: Path, folder: Path, chance: Random) -> Mutant:
    """The mutant that `chance` says, written to the new folder."""
    shutil.copytree(seed, folder)
    pattern = chance.choice(list(kind.files))
    file = chance.choice(sorted(path for path in folder.glob(pattern) if path.is_file()))
    harmless = bool(kind.harmless) and file.suffix != ".npy" and chance.random() < _HARMLESS
    pool = kind.harmless if harmless else kind.files[pattern]
    chosen = [chance.choice(pool) for _ in range(chance.choice((1, 1, 1, 2, 3)))]
    content = file.read_bytes()
    for mutation in chosen:
        content = mutation(content, chance)
    unchanged = content == file.read_bytes()
    file.write_bytes(content)
    name = file.relative_to(folder).as_posix()
    sealed = kind.seal is not None and not harmless and chance.random() < _SEALED
    if sealed and kind.seal is not None:
        kind.seal(folder, name)
    return Mutant(
        command=chance.choice(kind.commands),
        file=name,
        mutations=tuple(mutation.__name__ for mutation in chosen),
        sealed=sealed,
        like_the_seed=harmless or unchanged or (kind.verified and not sealed),
    )
