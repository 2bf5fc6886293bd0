"""The cache of engines: what its key depends on, and that nothing is read from it which was not written there."""

from __future__ import annotations

import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mrct_runtime.engines.cache import EngineCache, Key
from mrct_runtime.errors import EngineError
from mrct_runtime.private_folder import PrivateFolder

KEY = Key(
    onnx_sha256="a" * 64,
    flavour="tensorrt-rtx",
    version="1.7.1",
    architecture="portable",
    precision="fp16",
    opset=18,
    batch=(1, 10, 16),
    height=512,
    width=512,
    trial=(4, 32, 48),
    recipe=1,
)
OTHER = {
    "onnx_sha256": "b" * 64,
    "flavour": "tensorrt",
    "version": "1.7.2",
    "architecture": "8.9",
    "precision": "fp32",
    "opset": 21,
    "batch": (1, 4, 16),
    "height": 256,
    "width": 256,
    "trial": None,
    "recipe": 2,
}


@pytest.fixture
def cache(tmp_path, monkeypatch) -> EngineCache:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return EngineCache.open()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_engine_comes_back_as_it_was_written_with_its_record(cache) -> None:
    assert cache.load(KEY) is None
    written = cache.store(KEY, b"engine", 1.5)
    assert cache.load(KEY) == (written, b"engine")
    assert list(cache.records()) == [written]
    assert (written.bytes, written.seconds, written.key) == (6, 1.5, KEY)


def test_the_key_has_every_part_that_is_tried_here() -> None:
    assert set(OTHER) == set(Key.model_fields)


@pytest.mark.parametrize("part", list(OTHER))
def test_another_value_of_any_part_is_another_engine(cache, part) -> None:
    cache.store(KEY, b"engine", 1.0)
    assert cache.load(KEY.model_copy(update={part: OTHER[part]})) is None


def test_folder_and_files_are_the_users_alone(cache, tmp_path) -> None:
    cache.store(KEY, b"engine", 1.0)
    cache.store_kernels(KEY, "8.9", b"kernels")
    assert mode(tmp_path / "home/mrct/engines") == 0o700
    assert {mode(path) for path in (tmp_path / "home/mrct/engines").iterdir()} == {0o600}


@pytest.mark.parametrize("at", [0, 5])
def test_a_flipped_byte_is_refused_and_the_file_is_named(cache, at) -> None:
    cache.store(KEY, b"engine", 1.0)
    path = cache.path(KEY)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(EngineError, match=rf"{path} was changed: .*; delete it"):
        cache.load(KEY)
    path.unlink()
    assert cache.load(KEY) is None


def test_a_record_of_another_engine_is_refused(cache) -> None:
    other = KEY.model_copy(update={"precision": "fp32"})
    cache.store(KEY, b"engine", 1.0)
    cache.store(other, b"other", 1.0)
    record = cache.path(KEY).with_suffix(".json")
    record.write_bytes(cache.path(other).with_suffix(".json").read_bytes())
    with pytest.raises(EngineError, match="tells of another engine"):
        cache.load(KEY)
    assert [found.key for found in cache.records()] == [other]
    record.write_text("{}")
    with pytest.raises(EngineError, match="no record of an engine"):
        cache.load(KEY)


@pytest.mark.parametrize("suffix", [".engine", ".json"])
def test_a_link_is_not_followed(cache, tmp_path, suffix) -> None:
    cache.store(KEY, b"engine", 1.0)
    path = cache.path(KEY).with_suffix(suffix)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="is a link"):
        cache.load(KEY)


@pytest.mark.parametrize("suffix", [".engine", ".json"])
def test_a_file_that_others_can_write_is_refused(cache, suffix) -> None:
    cache.store(KEY, b"engine", 1.0)
    cache.path(KEY).with_suffix(suffix).chmod(0o620)
    with pytest.raises(EngineError, match=r"can be written by other users \(mode 0620\)"):
        cache.load(KEY)


def test_what_belongs_to_another_user_is_refused(cache, monkeypatch) -> None:
    cache.store(KEY, b"engine", 1.0)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(EngineError, match=r"belongs to user \d+, not to 4711"):
        cache.load(KEY)
    with pytest.raises(EngineError, match=r"engines belongs to user \d+, not to 4711"):
        EngineCache.open()


def test_a_folder_that_others_can_write_or_that_is_a_link_is_refused(cache, tmp_path) -> None:
    folder = tmp_path / "home/mrct/engines"
    folder.chmod(0o770)
    with pytest.raises(EngineError, match=r"engines can be written by other users \(mode 0770\)"):
        EngineCache.open()
    folder.chmod(0o700)
    folder.rename(tmp_path / "real")
    folder.symlink_to(tmp_path / "real")
    with pytest.raises(EngineError, match="is a link or a file"):
        EngineCache.open()


def test_a_folder_that_cannot_be_made_says_what_to_set(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EngineError, match="XDG_CACHE_HOME"):
        EngineCache.open()


def test_a_named_pipe_is_refused_and_not_waited_for(cache) -> None:
    cache.store(KEY, b"engine", 1.0)
    cache.path(KEY).unlink()
    os.mkfifo(cache.path(KEY))
    with pytest.raises(EngineError, match="no plain file"):
        cache.load(KEY)


@pytest.mark.parametrize("suffix", [".engine", ".json"])
def test_a_folder_in_the_place_of_a_file_is_refused(cache, suffix) -> None:
    cache.store(KEY, b"engine", 1.0)
    path = cache.path(KEY).with_suffix(suffix)
    path.unlink()
    path.mkdir()
    before = open_files()
    with pytest.raises(EngineError, match=rf"{path} is no plain file; delete it"):
        cache.load(KEY)
    assert open_files() == before


def test_a_lock_that_cannot_be_had_is_one_line(cache) -> None:
    """As on a file system that is full or read-only; a folder stands in the lock's place for root as well."""
    (cache.folder.path / f"{KEY.digest}.lock").mkdir()
    with pytest.raises(EngineError, match=r"\.lock cannot be locked: .*; XDG_CACHE_HOME names"):
        cache.load(KEY)
    with pytest.raises(EngineError, match=r"\.lock cannot be locked"):
        cache.store(KEY, b"engine", 1.0)


def test_a_file_system_without_locks_is_one_line(cache, monkeypatch) -> None:
    def no_locks(_lock) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.acquire", no_locks)
    with pytest.raises(EngineError, match="cannot be locked: FileSystem does not appear"):
        cache.load(KEY)


def test_a_write_that_fails_leaves_the_old_engine_and_no_rest(tmp_path, monkeypatch) -> None:
    folder = PrivateFolder.claim(tmp_path / "own")
    folder.write("a", b"old")

    def full(_descriptor) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EngineError, match="cannot be written: No space left on device"):
        folder.write("a", b"new")
    assert folder.read("a") == b"old"
    assert [path.name for path in folder.path.iterdir()] == ["a"]


def test_compiled_kernels_are_kept_for_each_gpu_and_a_changed_file_is_refused(cache) -> None:
    assert cache.load_kernels(KEY, "8.9") is None
    cache.store_kernels(KEY, "8.9", b"kernels")
    assert cache.load_kernels(KEY, "8.9") == b"kernels"
    assert cache.load_kernels(KEY, "12.0") is None
    assert cache.load_kernels(KEY, "8.9 ../../A GPU (TM)") is None
    (path,) = cache.folder.path.glob("*.kernels")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EngineError, match="was changed"):
        cache.load_kernels(KEY, "8.9")


def test_what_a_gpu_is_called_leads_to_no_other_folder(cache) -> None:
    cache.store_kernels(KEY, "8.9 ../../A GPU (TM)", b"kernels")
    assert cache.load_kernels(KEY, "8.9 ../../A GPU (TM)") == b"kernels"
    (path,) = cache.folder.path.iterdir()
    assert path.name == f"{KEY.digest}-8.9-..-..-A-GPU-TM-.kernels"


WRITE_OFTEN = """
import pickle, sys
from mrct_runtime.engines.cache import EngineCache
key, letter = pickle.load(sys.stdin.buffer)
for _ in range(30):
    EngineCache.open().store(key, letter * 100_000, 1.0)
"""


def _start_writing(letter: bytes) -> subprocess.Popen:
    writer = subprocess.Popen([sys.executable, "-c", WRITE_OFTEN], stdin=subprocess.PIPE)
    with writer.stdin as told:
        told.write(pickle.dumps((KEY, letter)))
    return writer


def test_two_writers_at_once_leave_one_whole_engine_and_a_reader_never_meets_a_torn_one(cache):
    cache.store(KEY, b"z" * 100_000, 1.0)
    writers = [_start_writing(letter) for letter in (b"a", b"b")]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        found = cache.load(KEY)
        assert found is not None
        seen.add(found[1][:1])
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {b"z", b"a", b"b"}
    assert len(list(cache.records())) == 1
