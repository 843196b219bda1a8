"""The loop over batches: each frame once, in order, whatever the batches; one batch ahead of the host, and no more."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tal_jax.frames import Frame, Place, by_recording, map_batches


def batches_of(places, size, asked=None):
    """Batches of the numbers of places, filled with -1, as they are asked for."""
    for at in range(0, len(places), size):
        part = places[at : at + size]
        inputs = np.full(size, -1)
        inputs[: len(part)] = [place.row for place in part]
        if asked is not None:
            asked.append(at // size)
        yield inputs, [*part, *[None] * (size - len(part))]


counts = st.lists(st.integers(1, 5), max_size=8)  # windows of each recording


@given(counts, st.integers(1, 7), st.randoms())
def test_batch_size_filling_and_order_change_nothing(windows, size, random):
    places = [Place(n, 0.5 * w, 10 * n + w) for n, count in enumerate(windows) for w in range(count)]
    frames = list(map_batches(lambda x: x**2, batches_of(places, size), iter))
    assert frames == [Frame(*place, place.row**2) for place in places]
    assert [(n, len(own)) for n, own in by_recording((f.position, f) for f in frames)] == list(enumerate(windows))
    random.shuffle(places)
    assert set(map_batches(lambda x: x**2, batches_of(places, size), iter)) == set(frames)


def test_a_batch_is_dispatched_before_the_one_before_is_read_and_no_further():
    events = []

    def step(inputs):
        events.append(f"step {inputs[0]}")
        return inputs

    def fetch(results):
        events.append(f"read {results[0]}")
        return results

    frames = map_batches(step, batches_of([Place(0, 0.0, i) for i in range(7)], 2), fetch)
    assert events == []
    assert next(frames).row == 0
    assert events == ["step 0", "step 2", "read 0"]
    assert [frame.row for frame in frames] == [1, 2, 3, 4, 5, 6]
    assert events == ["step 0", "step 2", "read 0", "step 4", "read 2", "step 6", "read 4", "read 6"]


def test_recordings_are_handed_on_as_soon_as_they_are_whole():
    asked = []
    places = [Place(n, 0.0, n) for n in (0, 0, 0, 1, 2, 3, 4, 5)]
    recordings = by_recording((f.position, f.result) for f in map_batches(abs, batches_of(places, 2, asked), iter))
    position, items = next(recordings)
    assert (position, [int(x) for x in items]) == (0, [0, 0, 0])
    assert asked == [0, 1, 2]
    assert [(n, [int(x) for x in own]) for n, own in recordings] == [(n, [n]) for n in (1, 2, 3, 4, 5)]


def test_nothing_is_nothing():
    assert list(map_batches(abs, [], iter)) == []
    assert list(by_recording([])) == []
