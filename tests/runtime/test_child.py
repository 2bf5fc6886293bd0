import os
import time
from pathlib import Path

import numpy as np
import pytest

from mrct_runtime.child import Child, ask_once
from mrct_runtime.errors import DeviceMemoryError, EngineError, UsageError
from mrct_runtime.payload import Payload


class Echo:
    """What the tests ask: it lives in the child."""

    def __init__(self, argument):
        if argument == "refuse":
            raise UsageError("the argument is refused")
        self.argument, self.asked = argument, 0

    def back(self, **said):
        self.asked += 1
        return [self.argument, self.asked, said]

    def bytes(self, count):
        content = np.arange(count, dtype=np.uint8)
        return Payload([count], content.data)

    def half(self):
        os.write(3, b'{"value": [], "bytes": 8}\n1234')
        os._exit(3)

    def environment(self):
        return sorted(os.environ)

    def process(self):
        return os.getpid()

    def full(self):
        raise MemoryError

    def sleeping_child(self):
        return os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "600")

    def wait(self):
        time.sleep(600)


HERE = "test_child_target:Echo"


@pytest.fixture(autouse=True)
def _importable(tmp_path, monkeypatch):
    source = Path(__file__).read_text("utf-8")
    (tmp_path / "test_child_target.py").write_text(source, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)


def test_one_object_answers_every_question():
    with Child(HERE, {"a": [1.5]}) as child:
        assert child.ask("back", 20, b=None) == [{"a": [1.5]}, 1, {"b": None}]
        assert child.ask("back", 20) == [{"a": [1.5]}, 2, {}]
        assert child.ask("process", 20) != os.getpid()


@pytest.mark.parametrize("count", [0, 1, 200, 65536, 10_000_001])
def test_bytes_come_as_they_are_between_other_answers(count):
    with Child(HERE, 0) as child:
        for _ in range(2):
            value, content = child.ask_bytes("bytes", 20, count, count=count)
            assert value == [count]
            np.testing.assert_array_equal(
                np.frombuffer(content, np.uint8), np.arange(count, dtype=np.uint8)
            )
            assert child.ask("back", 20)[0] == 0
        assert child.ask_bytes("back", 20, 0)[1] == b""


def test_more_bytes_than_were_allowed_are_not_read():
    with Child(HERE, 0) as child:
        with pytest.raises(EngineError, match="an answer of 200 bytes, more than 199"):
            child.ask_bytes("bytes", 20, 199, count=200)
        assert not child.alive


def test_a_process_that_ends_within_its_bytes_is_told():
    with Child(HERE, 0) as child, pytest.raises(EngineError, match="ended with code 3"):
        child.ask_bytes("half", 20, 8)


def test_a_bare_process_gets_what_it_needs_and_what_it_is_given(monkeypatch):
    monkeypatch.setenv("A_SECRET", "1")
    with Child(HERE, 0, {"GIVEN": "1"}, bare=True) as child:
        known = set(child.ask("environment", 20))
    needed = {"PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "GIVEN"}
    # the interpreter may set the character type, as a locale does
    assert known - {"LC_CTYPE"} <= needed
    assert {"PATH", "PYTHONPATH", "GIVEN"} <= known
    with Child(HERE, 0) as child:
        assert "A_SECRET" in child.ask("environment", 20)


def test_no_module_is_taken_from_the_folder_that_the_command_was_given_in(tmp_path, monkeypatch):
    study = tmp_path / "study"
    study.mkdir()
    for name in ("json", "numpy", "mrct_runtime"):
        (study / f"{name}.py").write_text("raise SystemExit('a file of the study ran')")
    monkeypatch.chdir(study)
    with Child(HERE, 0) as child:
        assert child.ask("back", 20)[1] == 1


def test_what_cannot_be_made_is_told_when_it_is_asked():
    with pytest.raises(EngineError, match="the argument is refused"):
        ask_once(HERE, "refuse", "back", 20)
    with pytest.raises(EngineError, match="ModuleNotFoundError"):
        ask_once("no_such_module:Echo", None, "back", 20)


def test_an_error_leaves_the_object_alive():
    with Child(HERE, 0) as child:
        with pytest.raises(EngineError, match="AttributeError"):
            child.ask("no_such_method", 20)
        with pytest.raises(DeviceMemoryError):
            child.ask("full", 20)
        assert child.ask("back", 20)[1] == 1


def test_a_hang_ends_with_the_time_and_takes_its_children_along():
    with Child(HERE, 0) as child:
        sleeper = child.ask("sleeping_child", 20)
        started = time.monotonic()
        with pytest.raises(EngineError, match="no answer within 1 s"):
            child.ask("wait", 1)
        assert time.monotonic() - started < 10
    for _ in range(100):
        if not _runs(sleeper):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child's own child still runs")


def _runs(process):
    """Whether a process is there and not only its exit status, which an orphan's new parent has yet to read."""
    try:
        state = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
