import errno
import os
from pathlib import Path

import pytest

from mrct_runtime import output_folder
from mrct_runtime.errors import OutputError
from mrct_runtime.output_folder import OutputFolder, not_writable


def test_the_target_appears_with_everything_in_it_when_it_is_committed(tmp_path):
    with OutputFolder.claim(tmp_path / "a/b/out") as folder:
        (folder.partial / "file").write_text("whole")
        assert not (tmp_path / "a/b/out").exists()
        assert folder.commit() == tmp_path / "a/b/out"
    assert (tmp_path / "a/b/out/file").read_text() == "whole"
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_ends_the_block_early_nothing_is_left(error, tmp_path):
    def fail():
        with OutputFolder.claim(tmp_path / "out") as folder:
            (folder.partial / "half").write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("needed", [0, 10**15])
def test_parents_made_for_a_target_that_never_came_are_removed_and_others_stay(needed, tmp_path):
    (tmp_path / "mine").mkdir()
    with (
        pytest.raises(OutputError),
        OutputFolder.claim(tmp_path / "mine/a/b/out", needed_bytes=needed),
    ):
        raise OutputError("failed")
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def test_a_parent_that_holds_something_else_by_then_stays(tmp_path):
    with OutputFolder.claim(tmp_path / "a/b/out"):
        (tmp_path / "a/note").write_text("mine")
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", tmp_path / "a/note"]


def test_the_partial_folder_is_hidden_and_on_the_same_file_system(tmp_path):
    with OutputFolder.claim(tmp_path / "out") as folder:
        assert folder.partial.parent == tmp_path / ".out.work"


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    with OutputFolder.claim(tmp_path / "out") as folder:
        (folder.partial / "file").write_text("new")
        folder.commit()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]


def test_a_filled_folder_is_refused_unless_it_is_of_the_kind_to_replace(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("old")
    with pytest.raises(OutputError, match=r"not empty.*--overwrite"):
        OutputFolder.claim(tmp_path / "out")
    with OutputFolder.claim(tmp_path / "out", replaces="old") as folder:
        (folder.partial / "new").write_text("new")
        folder.commit()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_lacks_the_marker_is_never_overwritten(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/beach.jpg").write_text("sun")
    with pytest.raises(OutputError, match=r"holds no run\.json"):
        OutputFolder.claim(tmp_path / "photos", replaces="run.json")
    assert (tmp_path / "photos/beach.jpg").is_file()


def test_an_overwritten_folder_stays_as_it_was_when_the_run_fails(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("old")
    with pytest.raises(ValueError), OutputFolder.claim(tmp_path / "out", replaces="old"):
        raise ValueError
    assert (tmp_path / "out/old").read_text() == "old"


def test_a_target_filled_by_another_run_meanwhile_is_not_replaced(tmp_path):
    with OutputFolder.claim(tmp_path / "out") as folder:
        (tmp_path / "out").mkdir()
        (tmp_path / "out/theirs").write_text("first")
        with pytest.raises(OutputError, match="not empty"):
            folder.commit()
    assert (tmp_path / "out/theirs").read_text() == "first"


@pytest.mark.parametrize("place", ["file", "file/out", "link"])
def test_a_file_or_link_in_the_way_is_refused_before_anything_is_made(place, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match="name another output folder"):
        OutputFolder.claim(tmp_path / place)
    assert sorted(tmp_path.iterdir()) == before


def test_a_disk_that_is_too_full_is_refused_with_the_need_and_the_rest(tmp_path):
    with pytest.raises(OutputError, match=r"1000000000 MB are needed and \d+ MB free"):
        OutputFolder.claim(tmp_path / "out", needed_bytes=10**15)
    assert list(tmp_path.iterdir()) == []


def test_the_systems_reason_is_told(tmp_path):
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "no space left on device" in str(not_writable(tmp_path, error))


def test_the_old_folder_comes_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    old = tmp_path / "out"
    old.mkdir()
    (old / "run.json").write_text("old")
    rename = Path.replace

    def failing(self, target):
        if self.name == "output":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    with OutputFolder.claim(old, replaces="run.json") as folder:
        (folder.partial / "run.json").write_text("new")
        monkeypatch.setattr(Path, "replace", failing)
        with pytest.raises(OutputError, match="input/output error"):
            folder.commit()
    assert (old / "run.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("made_meanwhile", [False, True])
def test_an_earlier_output_that_could_not_be_moved_back_is_found_by_the_next_run(
    made_meanwhile, tmp_path, monkeypatch
):
    old = tmp_path / "out"
    old.mkdir()
    (old / "run.json").write_text("old")
    rename = Path.replace

    def failing(self, target):
        if self.name != "out":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    with OutputFolder.claim(old, replaces="run.json") as folder:
        monkeypatch.setattr(Path, "replace", failing)
        with pytest.raises(OutputError, match="input/output error"):
            folder.commit()
    assert not old.exists()
    monkeypatch.setattr(Path, "replace", rename)
    if made_meanwhile:
        old.mkdir()
    with OutputFolder.claim(old, replaces="run.json"):
        assert (old / "run.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_mount_point_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path) == tmp_path / "volume")
    (tmp_path / "volume").mkdir()
    with pytest.raises(OutputError, match=r"mount point.* name a folder inside it"):
        OutputFolder.claim(tmp_path / "volume")


def test_every_file_and_folder_is_on_the_disk_before_the_rename(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(
        output_folder, "flush", lambda path: flushed.append((path.name, target.exists()))
    )
    target = tmp_path / "out"
    with OutputFolder.claim(target) as folder:
        (folder.partial / "inner").mkdir()
        (folder.partial / "inner/file").write_text("whole")
        folder.commit()
    partial = folder.partial.name
    assert {("file", False), ("inner", False), (partial, False)} <= set(flushed)
    assert flushed[-1] == (tmp_path.name, True)
