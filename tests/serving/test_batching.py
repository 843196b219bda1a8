"""Recordings that are detected together: none harms another, and a long one does not hold up a short one."""

import numpy as np
import pytest
from support.oracle import long_recording, model_of

from tal_jax.deploy.model import Recording
from tal_jax.errors import InputError
from tal_jax.serving.batching import Batcher, Full
from tal_jax.windows import Framing

T = 32


@pytest.fixture
def batcher():
    """With batches of up to four windows; the larger, the better."""
    found = Batcher(model_of(Framing("window", T)), max_batch=4, max_delay=0.0, max_waiting=6, on_batch=count)
    found.seconds = dict.fromkeys(found.seconds, 1.0)
    BATCHES.clear()
    yield found
    found.close()


BATCHES: list[int] = []


def count(stage, rows, size, seconds):
    BATCHES.append(rows)


def known(model, snippets, seed=0):
    return model.checked(Recording([long_recording(0, snippets, seed)[0]], stride=0.5))


def test_one_at_fault_harms_no_other(batcher):
    model = batcher.model
    given = [known(model, 20 + i, seed=i) for i in range(3)]
    given[1].streams[0][4] = np.nan
    expected = [next(model.detect([Recording(g.streams, stride=0.5)])) for g in (given[0], given[2])]
    futures = [batcher.submit(g) for g in given]
    batcher.start()
    with pytest.raises(InputError, match="not finite"):
        futures[1].result(timeout=300)
    for future, one in zip((futures[0], futures[2]), expected, strict=True):
        np.testing.assert_array_equal(future.result(timeout=300).segments, one.segments)
    assert batcher.waiting == 0


def test_a_short_recording_waits_for_no_more_than_a_window_of_each(batcher):
    """Four long ones fill every batch of four, and are there first."""
    model = batcher.model
    long = [batcher.submit(known(model, 1_000)) for _ in range(4)]
    short = batcher.submit(known(model, 20))
    done = []
    for future in (*long, short):
        future.add_done_callback(lambda future: done.append((len(BATCHES), future is short)))
    batcher.start()
    assert all(len(future.result(timeout=300).scores) for future in (*long, short))
    windows = 4 * len(model.stages[0].framing.offsets(1_000)) + 1
    assert sum(BATCHES) == windows
    assert done[0][1]
    assert done[0][0] <= 2
    assert len(BATCHES) == -(-windows // 4)


def test_those_who_gave_up_are_not_computed_and_too_many_are_turned_away(batcher):
    model = batcher.model
    futures = [batcher.submit(known(model, 20)) for _ in range(6)]
    with pytest.raises(Full):
        batcher.submit(known(model, 20))
    for future in futures[:4]:
        assert future.cancel()
    batcher.start()
    assert all(len(f.result(timeout=300).scores) for f in futures[4:])
    assert sum(BATCHES) == 2
