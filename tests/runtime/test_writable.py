from pathlib import Path

import pytest
from unprivileged import permissions_count

from mrct_runtime.errors import OutputError
from mrct_runtime.writable import require_file, require_folder


def test_a_folder_that_is_there_or_can_be_made_is_fit_and_is_not_made(tmp_path):
    for path in (tmp_path, tmp_path / "new", tmp_path / "new/deep"):
        require_folder(path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    for name in ("file", "file/below", "file/below/deep"):
        with pytest.raises(OutputError, match="not a directory"):
            require_folder(tmp_path / name)


def test_a_folder_that_others_own_is_refused_at_any_depth(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with permissions_count():
        for name in ("closed", "closed/new", "closed/new/deep"):
            with pytest.raises(OutputError, match="permission denied"):
                require_folder(tmp_path / name)
        with pytest.raises(OutputError, match="Permission denied"):
            require_file(tmp_path / "closed/new")


def test_a_dangling_link_is_no_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    with pytest.raises(OutputError, match="not a directory"):
        require_folder(tmp_path / "link")


def test_a_file_in_a_folder_that_is_there_is_fit_also_where_it_replaces_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").touch()
    for path in (tmp_path / "new", tmp_path / "old", Path("new"), Path("-")):
        require_file(path)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [(".", "Is a directory"), ("absent/new", "there is no folder"), ("old/new", "no folder")],
)
def test_a_file_is_refused_where_none_can_be(tmp_path, name, reason):
    (tmp_path / "old").touch()
    with pytest.raises(OutputError, match=reason):
        require_file(tmp_path / name)


def test_a_file_that_is_read_only_is_refused(tmp_path):
    (tmp_path / "old").touch(mode=0o400)
    with permissions_count(), pytest.raises(OutputError, match="Permission denied"):
        require_file(tmp_path / "old")
