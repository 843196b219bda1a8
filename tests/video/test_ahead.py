"""Jobs in threads: everything arrives, in order within a job, and nothing waits for ever."""

import threading
import time

import pytest

from tal_jax.errors import InputError
from tal_jax.video.ahead import ahead


def counting(start, count):
    return lambda: iter(range(start, start + count))


@pytest.mark.parametrize("threads", [1, 3, 20])
@pytest.mark.parametrize("waiting", [1, 4])
def test_everything_arrives_in_order_within_a_job(threads, waiting):
    pieces = list(ahead([counting(100 * j, j) for j in range(7)], threads, waiting))
    for j in range(7):
        own = [p for p in pieces if p.job == j]
        assert [p.item for p in own] == [*range(100 * j, 100 * j + j), None]
        assert [p.ends for p in own] == [False] * j + [True]


def test_one_that_fails_ends_itself_alone():
    def broken():
        yield 1
        raise InputError("a.mp4: damaged")

    pieces = list(ahead([counting(0, 2), broken, counting(5, 2)], 2, 2))
    assert [p.item for p in pieces if p.job == 1] == [1, None]
    assert [str(p.error) for p in pieces if p.error] == ["a.mp4: damaged"]
    assert {p.job for p in pieces if p.ends} == {0, 1, 2}


def test_a_bug_reaches_the_taker():
    def broken():
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(ahead([counting(0, 50), broken, counting(0, 50)], 2, 1))


def test_threads_pause_and_end_with_the_taker():
    made = []

    def endless():
        while True:
            made.append(1)
            yield len(made)

    pieces = ahead([endless], 1, 3)
    next(pieces)
    time.sleep(0.1)
    assert len(made) <= 6  # one taken, three waiting, one in hand
    before = threading.active_count()
    pieces.close()
    assert threading.active_count() == before - 1
