"""The studies in a folder, and what they are called where names must not be told."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mrct_runtime.atomic import flush, write_atomically
from mrct_runtime.errors import NoInputError, OutputError, UsageError
from mrct_runtime.output_folder import not_writable
from mrct_runtime.volume_files import ending

_KEY_BYTES: Final = 32
_DIGITS: Final = 16


@dataclass(frozen=True)
class Study:
    """A folder or a volume's file, and the name of its result; both may name a patient, `id` does not."""

    path: Path
    name: str
    id: str

    def anonymous(self, text: str, place: Path) -> str:
        """The text without the paths and the name of the study, and without those of `place`, its result."""
        for told in (place, Path(os.path.abspath(place)), self.path, self.path.resolve()):  # noqa: PTH100  as OutputFolder
            text = text.replace(str(told), self.id)
            text = text.replace(str(told.with_name(f".{told.name}.work")), self.id)
        return re.sub(rf"(?<!\w){re.escape(self.name)}(?!\w)", self.id, text)


def study_name(path: Path) -> str:
    """That of the folder, or of the file without the ending that says its format."""
    return path.name if path.is_dir() else path.name[: len(path.name) - len(ending(path.name))]


def find_studies(folder: Path, key: bytes) -> list[Study]:
    """Every folder and every volume's file directly in `folder`, by name; hidden ones are none.

    Whether a folder holds an MR is found out when it is translated: one that is passed over in silence would be missed.
    """
    try:
        found = sorted(path for path in folder.iterdir() if _is_study(path))
    except OSError as error:
        raise NoInputError(f"no such folder, or not readable: {error.strerror}") from error
    if not found:
        raise NoInputError(
            "no studies there: name a folder that holds a folder for each study, or volumes"
        )
    named: dict[str, Study] = {}
    for path in found:
        name = study_name(path)
        if name in named:
            raise UsageError(
                "two studies have one name but for their format, and one result would replace the other's; rename one"
            )
        named[name] = Study(path, name, keyed_id(name, key))
    return [named[name] for name in sorted(named)]


def refuse_the_study(place: Path, study: Path) -> None:
    """UsageError where the result at `place` would take the place of its own input."""
    out, source = place.resolve(), study.resolve()
    if out == source or out in source.parents:
        raise UsageError(f"OUT {place} is or holds the study itself; name another output folder")


def _is_study(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    return path.is_dir() or (path.is_file() and bool(ending(path.name)))


def keyed_id(name: str, key: bytes) -> str:
    """HMAC-SHA256 of the name: nobody without the key can try names until one gives this."""
    return hmac.new(key, name.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[
        :_DIGITS
    ]


def claim_key(path: Path) -> bytes:
    """The secret in the file, made by the first of all processes that ask."""
    found = read_key(path)
    if found is not None:
        return found
    mine = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(8)}")
    try:
        write_atomically(mine, secrets.token_bytes(_KEY_BYTES), mode=0o600)
        try:
            # fails where another process was first, also on a network's file system
            os.link(mine, path)
        except FileExistsError:
            pass
        finally:
            mine.unlink()
        flush(path.parent)
    except OSError as error:
        raise not_writable(path, error) from error
    found = read_key(path)
    if found is None:
        raise OutputError(f"{path} was removed while it was made; run again")
    return found


def read_key(path: Path) -> bytes | None:
    """The secret in the file, None where there is none; OutputError where it is damaged."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise not_writable(path, error) from error
    if len(key) != _KEY_BYTES:
        raise OutputError(
            f"{path} has {len(key)} bytes, not {_KEY_BYTES}: it is damaged; remove it"
        )
    return key
