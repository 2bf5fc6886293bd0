import threading
from functools import partial

import pytest

from mrct_runtime.behind import Behind
from mrct_runtime.errors import NumericError


def test_calls_are_made_in_order_in_one_other_thread_and_all_before_the_block_ends():
    made, threads = [], set()

    def call(k):
        made.append(k)
        threads.add(threading.get_ident())

    with Behind(2) as behind:
        for k in range(20):
            behind(partial(call, k))
    assert made == list(range(20))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_the_asker_goes_on_while_few_calls_are_under_way_and_waits_where_they_are_many():
    go, made = threading.Event(), []
    with Behind(2) as behind:
        behind(go.wait)
        behind(partial(made.append, 1))
        assert made == []
        threading.Timer(0.1, go.set).start()
        behind(partial(made.append, 2))
        assert go.is_set()
    assert made == [1, 2]


def fail(error):
    raise error


def test_what_a_call_raises_is_raised_where_the_next_one_is_asked_for():
    error, made = NumericError("too hot"), []

    def fail_and_go_on(behind):
        behind(partial(fail, error))
        behind(partial(made.append, "next"))

    with pytest.raises(NumericError) as caught, Behind(1) as behind:
        fail_and_go_on(behind)
    assert caught.value is error
    assert made == []


def test_what_the_last_call_raises_is_raised_at_the_end():
    error = NumericError("too hot")
    with pytest.raises(NumericError) as caught, Behind() as behind:
        behind(partial(fail, error))
    assert caught.value is error


def test_an_error_of_the_block_drops_what_has_not_begun_and_waits_for_what_has():
    begun, go, made = threading.Event(), threading.Event(), []

    def slow():
        begun.set()
        go.wait()
        made.append("slow")

    def interrupted(behind):
        behind(slow)
        behind(partial(made.append, "later"))
        begun.wait()
        threading.Timer(0.1, go.set).start()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Behind() as behind:
        interrupted(behind)
    assert made == ["slow"]
