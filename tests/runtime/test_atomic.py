import errno
import os
import stat

import pytest

from mrct_runtime import atomic
from mrct_runtime.atomic import write_atomically


def test_text_and_bytes_take_the_place_of_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("a long earlier content")
    write_atomically(path, "grün")
    assert path.read_bytes() == "grün".encode()
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("mode", "expected"), [(0o666, 0o640), (0o600, 0o600)])
def test_the_users_mask_says_who_may_read_it(mode, expected, tmp_path):
    mask = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"", mode=mode)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == expected


def test_the_content_is_on_the_disk_before_it_has_its_name_and_the_name_after(
    tmp_path, monkeypatch
):
    seen = []
    real = os.fsync

    def fsync(descriptor):
        seen.append(((tmp_path / "file").exists(), stat.S_ISDIR(os.fstat(descriptor).st_mode)))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(tmp_path / "file", b"whole")
    assert seen == [(False, False), (True, True)]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_what_fails_leaves_the_earlier_file_and_nothing_else(failing, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("earlier")

    def fail(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else (atomic.Path, "replace")), fail)
    with pytest.raises(OSError, match="full"):
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_text() == "earlier"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_may_hold_nothing_else_never_does(tmp_path, monkeypatch):
    (tmp_path / "bundle").mkdir()
    seen = []
    real = atomic.Path.replace

    def replace(self, target):
        seen.append((self.parent, list((tmp_path / "bundle").iterdir())))
        return real(self, target)

    monkeypatch.setattr(atomic.Path, "replace", replace)
    write_atomically(tmp_path / "bundle/file", b"new", beside=tmp_path)
    assert seen == [(tmp_path, [])]
    assert (tmp_path / "bundle/file").read_bytes() == b"new"
