"""Tests of `prefetch`: order, errors and the end of the thread."""

import itertools
import threading
import time

import pytest

from pose_backbones.inference.prediction_stream import prefetch


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == 'prefetch']


def test_prefetch_keeps_order_in_another_thread():
    with prefetch((n, threading.current_thread()) for n in range(20)) as items:
        received = list(items)
    assert [n for n, _ in received] == list(range(20))
    assert all(thread is not threading.current_thread() for _, thread in received)
    assert not threads()


def test_prefetch_raises_errors_in_order():
    def items():
        yield 1
        yield 2
        raise KeyError('third')

    with prefetch(items()) as ready:
        assert [next(ready), next(ready)] == [1, 2]
        with pytest.raises(KeyError, match='third'):
            next(ready)
    assert not threads()


def test_prefetch_reads_a_limited_number_ahead():
    taken = []

    def items():
        for n in itertools.count():
            taken.append(n)
            yield n

    with prefetch(items(), 3) as ready:
        assert next(ready) == 0
        deadline = time.monotonic() + 5
        while len(taken) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        # One was taken, three are in the queue, and one waits to be put into it.
        assert taken == [0, 1, 2, 3, 4]
    assert not threads()


def test_early_exit_stops_the_thread_and_closes_the_iterator():
    closed = []

    def items():
        try:
            yield from itertools.count()
        finally:
            closed.append(threading.current_thread().name)

    with prefetch(items()) as ready:
        next(ready)
        assert threads() == ['prefetch']
    assert closed == ['prefetch']
    assert not threads()


def test_prefetch_zero_reads_on_request():
    taken = []

    def items():
        for n in itertools.count():
            taken.append(n)
            yield n

    with prefetch(items(), 0) as ready:
        time.sleep(0.3)
        assert taken == []
        for n in range(3):
            assert next(ready) == n
            time.sleep(0.15)
            assert taken == list(range(n + 1))
    assert not threads()
    with prefetch(iter('ab'), 0) as ready:
        assert list(ready) == ['a', 'b']


@pytest.mark.parametrize('ahead', [0, 4])
def test_blocked_thread_is_abandoned(ahead):
    release = threading.Event()

    def items():
        yield 1
        release.wait(60)

    start = time.monotonic()
    with prefetch(items(), ahead) as ready:
        assert next(ready) == 1
        if ahead == 0:  # the consumer waits for the second item
            taker = threading.Thread(target=lambda: list(ready), daemon=True)
            taker.start()
            time.sleep(0.3)
    assert 1 < time.monotonic() - start < 10
    assert threads() == ['prefetch']
    release.set()
    for _ in range(100):
        if not threads():
            break
        time.sleep(0.05)
    assert not threads()
