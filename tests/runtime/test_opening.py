import threading

import pytest

from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.errors import EngineError, SeriesError
from mrct_runtime.opening import opening
from mrct_runtime.process import VESDE


class Closable(Analytic):
    """An engine that knows how often it was closed."""

    closed = 0

    def close(self):
        self.closed += 1


def test_the_engine_opens_while_the_block_goes_on():
    asked = threading.Event()

    def open_engine(_tell):
        asked.wait()
        return engine

    engine = Closable(VESDE())
    with opening(open_engine, lambda _: None) as opened:
        asked.set()
        assert opened() is engine
    # who took it closes it
    assert engine.closed == 0


def test_lines_are_told_in_order_and_none_before_the_engine_is_asked_for():
    told, early, go = [], threading.Event(), threading.Event()

    def open_engine(tell):
        tell("no GPU")
        early.set()
        go.wait()
        tell("building")
        return Closable(VESDE())

    with opening(open_engine, told.append) as opened:
        early.wait()
        told.append("plan")
        threading.Timer(0.1, go.set).start()
        opened()
    assert told == ["plan", "no GPU", "building"]


def test_an_engine_that_nobody_asked_for_is_closed():
    engine = Closable(VESDE())
    with pytest.raises(SeriesError), opening(lambda _: engine, lambda _: None):
        raise SeriesError("no series")
    assert engine.closed == 1


def test_what_the_opening_raises_is_raised_where_the_engine_is_asked_for():
    error, told = EngineError("no engine"), []

    def fail(_tell):
        raise error

    with opening(fail, lambda _: None) as opened:
        told.append("study read")
        with pytest.raises(EngineError) as caught:
            opened()
    assert caught.value is error
    assert told == ["study read"]


def test_the_studys_error_comes_before_the_engines():
    def fail(_tell):
        raise EngineError("no engine")

    with pytest.raises(SeriesError), opening(fail, lambda _: None):
        raise SeriesError("no series")
