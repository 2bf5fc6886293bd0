from mrct_runtime.rows import Queue


def test_rows_come_slice_by_slice_in_batches() -> None:
    queue = Queue(2, 3)
    assert queue.take(4) == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert queue.take(4) == [(1, 1), (1, 2)]
    assert queue.waiting == 0
    assert queue.take(1) == []


def test_rows_that_were_put_back_come_first_again_in_their_order() -> None:
    queue = Queue(1, 4)
    queue.put_back(queue.take(3))
    assert queue.take(9) == [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_a_slice_that_needs_more_gets_it_before_the_slices_behind_it() -> None:
    queue = Queue(3, 2)
    assert [queue.complete(s, k) for s, k in queue.take(2)] == [False, True]
    queue.extend(0, 4)
    assert queue.total == 8
    assert queue.take(3) == [(0, 2), (0, 3), (1, 0)]
    assert not queue.complete(0, 2)
    assert queue.complete(0, 3)


def test_a_great_many_further_samples_are_not_written_down() -> None:
    queue = Queue(2, 1)
    queue.take(1)
    queue.extend(0, 10**12)
    assert queue.take(2) == [(0, 1), (0, 2)]
    assert queue.waiting == 10**12 - 2
