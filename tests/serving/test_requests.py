"""Optional parameters and fields of requests: what is wrong with one names it, and says what is expected."""

import json

import pytest
from support import videos
from support.oracle import model_of

from tal_jax.deploy.video_encoder import VideoEncoder
from tal_jax.errors import InputError
from tal_jax.serving.json_bodies import Refused
from tal_jax.serving.requests import Query, recording
from tal_jax.windows import Framing

JSON = "application/json"
FEATURES = {"features": [[1.0, 0.0]] * 20}


def refusal(call, *arguments, **options):
    with pytest.raises(Refused) as error:
        call(*arguments, **options)
    return error.value.status, str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("stride", "x", "?stride='x': not a number of seconds"),
        ("duration", "1:30", "?duration='1:30': not a number of seconds"),
        ("top", "2.5", "?top='2.5': not a whole number from 1 on"),
        ("top", "0", "?top='0': not a whole number from 1 on"),
        ("min_score", "nan", "?min_score='nan': not a finite number"),
        ("min_score", "high", "?min_score='high': not a finite number"),
    ],
)
def test_parameters(name, text, said):
    assert refusal(Query.of, [(name, text)]) == (400, said)


def test_more_detections_than_there_can_be_may_be_asked_for():
    assert Query.of([("top", "9" * 400)]).top == int("9" * 400)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stride": 0}, "stride 0: not a number of seconds from 1e-06 to 1e+09"),
        ({"duration": 1e12}, "duration 1e+12: not a number of seconds from 1e-06 to 1e+09"),
        ({"class_scores": [0.5, 1, 1]}, "class_scores of the 2 labels: 3 numbers in a list of 2"),
        ({"class_scores": [0.5]}, "class_scores of the 2 labels: 1 numbers in a list of 2"),
        ({"class_scores": []}, "class_scores of the 2 labels: 0 numbers in a list of 2"),
        ({"class_scores": 1}, "class_scores of the 2 labels: not numbers [..]"),
        ({"proposals": {"segments": [[0, 1, 2]], "scores": [1]}},
         "proposals: segments: row 0: 3 numbers in a list of 2"),
        ({"proposals": {"segments": [[0, 1]], "scores": "x"}}, "proposals: scores: not numbers [..]"),
    ],
)  # fmt: skip
def test_fields(fields, said):
    model = model_of(Framing("window", 32))
    model.labels = ("a", "b")
    body = json.dumps(FEATURES | fields).encode()
    assert refusal(recording, model, JSON, body, Query(), max_snippets=100) == (422, said)


def test_a_stride_that_the_model_does_not_know_is_asked_for_by_its_name():
    model = model_of(Framing("window", 32))
    model.stride = None
    body = json.dumps(FEATURES).encode()
    status, said = refusal(recording, model, JSON, body, Query(), max_snippets=100)
    assert (status, said) == (422, "stride: the model has none of its own: send it or duration, in seconds")
    for query in (Query(stride=0.5), Query(duration=10.0)):
        assert recording(model, JSON, body, query, max_snippets=100).stride == 0.5


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("class_scores", '"class_scores": [a number for each label] or {label: number, ..}'),
        ("proposals", '"proposals": {"segments": [[start, end], ..] in seconds, "scores": [..]}'),
    ],
)
def test_what_a_model_needs_from_outside_is_asked_for_by_its_name(name, form):
    model = model_of(Framing("window", 32))
    model.needs = (name,)
    body = json.dumps(FEATURES | {name: None}).encode()
    said = f"{name}: the model has no stage that makes them: send JSON with {form}"
    assert refusal(recording, model, JSON, body, Query(), max_snippets=100) == (422, said)


def test_a_video_of_no_rate_is_not_asked_for_a_flag(tmp_path):
    """Nobody who detects gives a rate: it is the model's, or the video's."""
    pytest.importorskip("av")
    encoder = VideoEncoder.__new__(VideoEncoder)
    encoder.identity, encoder._times = {"rate": None}, "stamps"
    path = videos.write(tmp_path / "slow.mp4", [0.0, 5.0, 10.0])
    with pytest.raises(InputError, match=r"slow\.mp4: its header says 0\.\d+ images a second: write it again"):
        encoder.encode(str(path))
