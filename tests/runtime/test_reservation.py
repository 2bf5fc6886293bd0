import os
import signal
import subprocess
import sys

import pytest

from mrct_runtime.errors import OutputError
from mrct_runtime.reservation import Reservation

HOLD = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from mrct_runtime.reservation import Reservation\n"
    "held = Reservation.claim(Path(sys.argv[1]))\n"
    "(held.folder / 'kept').write_text('mine')\n"
    "print('held', flush=True)\n"
    "time.sleep(60)\n"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that has the target."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.communicate()


def test_one_process_at_a_time_has_it_and_the_other_is_told_which(holder, tmp_path):
    with pytest.raises(OutputError, match=f"being written by process {holder.pid} on .* since 20"):
        Reservation.claim(tmp_path / "out")
    Reservation.claim(tmp_path / "another").remove()


def test_a_dead_process_has_nothing_and_what_it_had_is_there(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    held = Reservation.claim(tmp_path / "out")
    assert (held.folder / "kept").read_text() == "mine"
    assert str(os.getpid()) in (held.folder / "lock").read_text()
    held.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_stays_and_what_is_removed_goes(tmp_path):
    held = Reservation.claim(tmp_path / "a/b/out")
    (held.folder / "kept").write_text("mine")
    held.leave()
    again = Reservation.claim(tmp_path / "a/b/out")
    assert (again.folder / "kept").is_file()
    again.remove()
    assert not list((tmp_path / "a/b").iterdir())


def test_parents_that_were_made_for_it_go_with_it(tmp_path):
    Reservation.claim(tmp_path / "a/b/out").remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_removed_at_that_moment_is_made_again(tmp_path, monkeypatch):
    first = Reservation.claim(tmp_path / "out")
    real, opened = os.open, []

    def open_then_lose(path, *arguments, **named):
        descriptor = real(path, *arguments, **named)
        if str(path).endswith("lock") and not opened:
            opened.append(path)
            first.remove()
        return descriptor

    monkeypatch.setattr(os, "open", open_then_lose)
    second = Reservation.claim(tmp_path / "out")
    assert second.folder.is_dir()
    with pytest.raises(OutputError):
        Reservation.claim(tmp_path / "out")
    second.remove()


def test_who_waits_gets_it_when_it_is_free(tmp_path):
    held = Reservation.claim(tmp_path / "out")
    command = [
        sys.executable,
        "-c",
        HOLD.replace(")\n(held", ", wait=True)\n(held", 1),
        str(tmp_path / "out"),
    ]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.5)
    held.remove()
    assert child.stdout.readline() == "held\n"
    child.kill()
    child.communicate()


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / ".out.work").mkdir()
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".out.work/lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic link"):
        Reservation.claim(tmp_path / "out")
    assert (tmp_path / "victim").read_text() == "mine"


def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "victim/output").mkdir(parents=True)
    (tmp_path / ".out.work").symlink_to(tmp_path / "victim")
    with pytest.raises(OutputError, match="is a link where a folder of mrct's own belongs"):
        Reservation.claim(tmp_path / "out")
    assert [path.name for path in (tmp_path / "victim").iterdir()] == ["output"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's folder")
def test_another_user_s_folder_is_not_worked_in(tmp_path):
    (tmp_path / ".out.work").mkdir(mode=0o777)
    os.chown(tmp_path / ".out.work", 12345, -1)
    with pytest.raises(OutputError, match="belongs to user 12345"):
        Reservation.claim(tmp_path / "out")
    assert list((tmp_path / ".out.work").iterdir()) == []


def test_a_holder_that_says_nothing_is_another_process(holder, tmp_path):
    (tmp_path / ".out.work/lock").write_text("")
    with pytest.raises(OutputError, match="being written by another process"):
        Reservation.claim(tmp_path / "out")
