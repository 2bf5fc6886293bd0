"""Are the files of a result those that its run wrote?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mrct_runtime.digests import file_sha256
from mrct_runtime.errors import InputRejectedError, NoInputError
from mrct_runtime.report import RUN, digest_of_run
from mrct_runtime.structured_text import from_json

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Verification:
    """Names of files, relative to the folder: all that the run wrote, and what is not as it was."""

    written: tuple[str, ...]
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def intact(self) -> bool:
        """Whether everything is there, as it was written, and nothing else."""
        return not (self.missing or self.changed or self.added)


def verify(folder: Path) -> Verification:
    """What has become of a result's files since they were written.

    NoInputError where there is no result, InputRejectedError where its run.json is damaged itself.
    """
    told = _told(folder)
    there = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()
    } - {RUN}
    return Verification(
        written=tuple(sorted(told)),
        missing=tuple(sorted(told.keys() - there)),
        changed=tuple(sorted(n for n in told.keys() & there if _sha256(folder / n) != told[n])),
        added=tuple(sorted(there - told.keys())),
    )


def load_run(folder: Path, name: str | None = None) -> dict[str, Any]:
    """The run.json of a result, or a copy of that name, as it was written."""
    try:
        content = from_json((folder / (name or RUN)).read_text("utf-8"))
    except FileNotFoundError as error:
        raise NoInputError(
            f"no {RUN} there: name the folder of a result, as mrct-infer writes it"
        ) from error
    except (OSError, ValueError) as error:
        raise InputRejectedError(
            f"{RUN} is damaged: it cannot be read; make the result again"
        ) from error
    if not isinstance(content, dict) or content.get("sha256") != digest_of_run(content):
        raise InputRejectedError(f"{RUN} is not as it was written; make the result again")
    return content


def _told(folder: Path) -> Mapping[str, str]:
    """File name -> sha256, as the run wrote them down."""
    outputs = load_run(folder).get("outputs")
    sound = isinstance(outputs, dict) and all(
        _is_inside(name) and isinstance(digest, str) and _DIGEST.fullmatch(digest)
        for name, digest in outputs.items()
    )
    if not sound:
        raise InputRejectedError(
            f"{RUN} lists no files that could be looked at; make the result again"
        )
    return dict(outputs)  # type: ignore[arg-type]


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _sha256(path: Path) -> str:
    """The file's digest; that of nothing for what is no plain file or cannot be read."""
    if path.is_symlink() or not path.is_file():
        return ""
    try:
        return file_sha256(path)
    except OSError:
        return ""
