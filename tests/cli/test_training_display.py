import sys

import pytest

from mrct_cli import progress, training_display
from mrct_train.log import TrainingProgress


def place(step, **fields):
    made = {
        "step": step,
        "total": 100,
        "epoch": 3,
        "loss": 0.5,
        "samples_per_second": 12.34,
        "seconds_left": 3700.0,
    }
    return TrainingProgress(**made | fields)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only where a test says so."""
    now = [0.0]

    class Clock:
        @staticmethod
        def monotonic():
            return now[0]

    monkeypatch.setattr(training_display, "time", Clock)
    return now


@pytest.mark.usefixtures("clock")
def test_elsewhere_than_on_a_terminal_a_line_comes_every_ten_seconds(clock, capsys):
    with training_display.training_display(quiet=False, early=False) as display:
        for step in range(35):
            clock[0] = float(step)
            display(place(step))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"step {step} of 100" for step in (10, 20, 30)
    ]
    assert lines[0] == ("step 10 of 100, epoch 3, loss 0.50000, 12.3 samples/s, 1:01:40 left")


def test_a_run_that_may_end_early_says_at_most(clock, capsys):
    with training_display.training_display(quiet=False, early=True) as display:
        clock[0] = 10.0
        display(place(1))
    assert "step 1 of at most 100" in (told := capsys.readouterr().err)
    assert "at most 1:01:40 left" in told


def test_lines_of_text_are_told_at_once_and_the_last_loss_is_kept(capsys):
    with training_display.training_display(quiet=False, early=False) as display:
        display.tell("3 subjects")
        display(place(1))
        display(place(2, loss=0.25))
    assert capsys.readouterr().err == "3 subjects\n"
    assert display.loss == 0.25


def test_a_quiet_display_shows_nothing(clock, capsys):
    with training_display.training_display(quiet=True, early=False) as display:
        clock[0] = 10.0
        display.tell("3 subjects")
        display(place(1))
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "")


def test_on_a_terminal_a_bar_shows_the_place_and_text_stands_above_it(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with training_display.training_display(quiet=False, early=False) as display:
        display.tell("reading [bold]one[/bold]")
        display(place(100))
    told = capsys.readouterr().err
    assert "reading [bold]one[/bold]" in told
    assert "step 100 of 100, epoch 3, loss 0.50000, 12.3 samples/s, 1:01:40 left" in told
    assert told.index("reading") < told.index("step 100")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3700, "1:01:40")]
)
def test_a_clock_has_hours_only_where_there_are_any(seconds, text):
    assert progress.clock(seconds) == text
