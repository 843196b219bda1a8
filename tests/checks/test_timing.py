"""Lengths against durations, and segments against the ends of their recordings: what is told, what is refused."""

import numpy as np
import pytest

from tal_jax.checks.timing import Timed, contradicted_lengths, lengths, misplaced_segments, notes
from tal_jax.data.annotations import Instance, Recording


def timed(count, duration, stride=0.5, segments=(), id="r", subset="training"):
    return Timed(Recording(id, subset, duration, tuple(Instance(s, e, "a") for s, e in segments)), count, stride)


def durations(recordings, transposed=None):
    return contradicted_lengths("a.json", "--stride=S", recordings, transposed or {})


def unlike(recordings):
    return [note.id for note in notes(recordings) if note.kind == "unlike duration"]


def test_one_video_of_another_frame_rate_is_found_whether_short_or_long():
    """Four images to a snippet, taken for 25 a second: 0.16 s. At 24 a second, 20 s have 120 snippets and not 125."""
    right = [timed(round(seconds / 0.16), seconds, 0.16, id=f"r{seconds}") for seconds in (20, 60, 100, 560)]
    for seconds in (20, 60, 560):
        wrong = timed(seconds * 24 // 4, seconds, 0.16, id="wrong")
        assert unlike([*right, wrong]) == ["wrong"]
        assert unlike([wrong]) == ["wrong"]
        assert durations([*right, wrong]) == []
    (note,) = notes([*right, timed(3360, 560, 0.16, id="wrong")])
    assert "3360 snippets x 0.16 s = 537.6 s, annotated 560.0 s: a stride of 0.1667 s would fit" in note.text


def test_what_encoders_leave_out_at_the_end_is_no_contradiction():
    """Clips of 64 images every 8 of 32 a second: seven snippets fewer than duration / stride, in each recording."""
    recordings = [timed(4 * seconds - 7, seconds, 0.25, id=f"r{seconds}") for seconds in (9, 20, 31, 77)]
    assert [note.kind for note in notes(recordings)] == ["usual length"]
    assert "7 snippets shorter" in notes(recordings)[0].text
    assert durations(recordings) == []
    assert unlike([*recordings, timed(4 * 50 - 20, 50, 0.25, id="cut")]) == ["cut"]


@pytest.mark.parametrize("seconds", [(10,) * 5, (8,) * 61, (4, 10, 33, 90), (10,)])
@pytest.mark.parametrize(("given", "right"), [(0.1, "0.2"), (0.25, "0.5"), (1.0, "0.5"), (0.2, "0.1")])
def test_a_factor_that_all_share_is_refused_with_the_stride_that_fits(seconds, given, right):
    recordings = [timed(round(s / float(right)), s, given, id=f"r{i}") for i, s in enumerate(seconds)]
    (doubt,) = durations(recordings)
    assert doubt.reason == "durations"
    for word in ("a.json", f"{len(seconds)} of {len(seconds)} recordings", "r0", f"is the stride {right} s?"):
        assert word in doubt.text


def test_a_few_other_mistakes_do_not_hide_the_factor():
    recordings = [timed(40 + 3 * i, (40 + 3 * i) * 0.5, 0.25, id=f"r{i}") for i in range(12)]
    recordings[4] = timed(52, 52 * 0.6, 0.25)
    assert "is the stride 0.5 s?" in durations(recordings)[0].text


def test_the_stride_of_other_frame_rates_is_as_exact_as_the_lengths_tell():
    """All at 30 images a second, taken for 25: 0.16 s in place of 4 / 30 = 0.1333 s."""
    recordings = [timed(int(s * 30 / 4), s, 0.16, id=f"r{s}") for s in (61, 127, 240, 555)]
    assert "is the stride 0.133" in durations(recordings)[0].text


def test_durations_in_milliseconds():
    recordings = [timed(2 * s, 1000.0 * s, id=f"r{s}") for s in (10, 30, 70)]
    assert "one factor, 1000, fits all" in durations(recordings)[0].text
    assert "milliseconds" in durations(recordings)[0].text


def test_durations_of_other_recordings_are_refused():
    rng = np.random.default_rng(0)
    counts = rng.integers(20, 400, 30)
    recordings = [
        timed(int(n), float(s), id=f"r{i}") for i, (n, s) in enumerate(zip(counts, counts[::-1], strict=True))
    ]
    assert "no one stride fits" in durations(recordings)[0].text


def test_the_other_axis_is_suspected_where_it_fits():
    recordings = [timed(6, s, id=f"r{s}") for s in (50, 60, 70)]
    turned = [timed(2 * s, s, id=f"r{s}") for s in (50, 60, 70)]
    assert "is stream x transposed? Its other axis fits: --layout=x=TC" in durations(recordings, {"x": turned})[0].text


def test_rounded_durations_are_told_and_not_refused():
    """A sensor of 50 Hz whose annotators wrote whole seconds."""
    rng = np.random.default_rng(0)
    recordings = [timed(round(s * 50), float(round(s)), 0.02, id=f"r{s}") for s in rng.uniform(5, 60, 40)]
    assert durations(recordings) == []
    assert 10 < len(unlike(recordings)) < 40


@pytest.mark.parametrize("recordings", [[], [timed(9, None)], [timed(9, 5.0, None)], [timed(None, 5.0)]])
def test_lengths_that_are_known_once_contradict_nothing(recordings):
    assert len(lengths(recordings).timed) == 0
    assert durations(recordings) == notes(recordings) == []


def test_one_snippet_and_its_duration():
    assert durations([timed(1, 0.5)]) == notes([timed(1, 0.5)]) == []
    assert durations([timed(1, 0.4)]) == []


def spread(scale, count=20):
    """Recordings of 30 s at two snippets a second, with segments that some tool wrote in another unit."""
    return [timed(60, 30.0, 0.5, [(4 * scale, 9 * scale), (20 * scale, 29 * scale)], f"r{i}") for i in range(count)]


@pytest.mark.parametrize(
    ("scale", "cause"),
    [(2, "in snippets"), (25, "in images"), (100, "in samples?"), (1000, "in milliseconds"), (44100, "in samples?")],
)
def test_segments_beyond_the_ends_are_refused_with_a_cause(scale, cause):
    (doubt,) = misplaced_segments("a.json", spread(scale))
    assert doubt.reason == "segments"
    for word in ("a.json", "of 40 segments of the set", "r0", cause):
        assert word in doubt.text
    assert misplaced_segments("a.json", spread(1)) == []


def test_a_split_of_its_own_is_refused_too():
    other = [timed(60, 30.0, 0.5, [(400, 900)], f"v{i}", "validation") for i in range(5)]
    (doubt,) = misplaced_segments("a.json", [*spread(1), *other])
    assert "5 of 5 segments of validation" in doubt.text
    assert misplaced_segments("a.json", [*spread(1), *other[:4]]) == []


def test_some_slips_are_no_pattern():
    """Forty segments inside: twenty beyond the end are a third, one more is too much; of three, two are."""
    beyond = [timed(60, 30.0, 0.5, [(100, 120)], f"x{i}") for i in range(21)]
    assert misplaced_segments("a.json", [*spread(1), *beyond[:20]]) == []
    assert misplaced_segments("a.json", [*spread(1), *beyond])
    assert misplaced_segments("a.json", [*spread(1, 1), *beyond[:2]]) == []
    assert misplaced_segments("a.json", [*spread(1, 1), *beyond[:3]])


def test_fractions_and_lengths_in_place_of_ends():
    assert "fractions" in misplaced_segments("a.json", spread(1 / 30))[0].text
    pairs = [timed(60, 30.0, 0.5, [(9, 4), (20, 5), (2, 3)], f"r{i}") for i in range(3)]
    assert "[start, length]" in misplaced_segments("a.json", pairs)[0].text
    assert misplaced_segments("a.json", [timed(60, 30.0, 0.5, [(0, 1)])]) == []  # one short action is no pattern


def test_an_action_as_long_as_its_recording_and_one_shorter_than_a_snippet():
    assert misplaced_segments("a.json", [timed(60, 30.0, 0.5, [(0, 30), (0, 0.01)], f"r{i}") for i in range(9)]) == []
