"""What encoder.json says of features: read whole, or refused in a line; differences in words."""

import json

import pytest

from tal_jax.data import provenance
from tal_jax.errors import InputError

IDENTITY = {
    "encoder": "i3d_rgb", "weights": "a" * 64, "rate": 25.0, "images": 16, "interval": 1, "stride": 4, "phase": 0.0,
    "preprocessing": {"side": 224}, "layer": "pooled", "width": 1024,
}  # fmt: skip
ROW = {"stride": 0.16, "seconds": 10.0, "snippets": 62, "notes": []}


def written(folder, **changes):
    values = {"features": IDENTITY, "videos": {"a": ROW}} | changes
    provenance.write(folder / provenance.NAME, {k: v for k, v in values.items() if v is not None})
    return folder


def test_what_was_written_is_read(tmp_path):
    found = provenance.read(written(tmp_path))
    assert found.identity == IDENTITY
    assert (found.width, found.random) == (1024, False)
    assert (found.videos["a"].stride, found.videos["a"].snippets) == (0.16, 62)
    assert provenance.read(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "update tal_jax"),
        ({"features": None}, "features"),
        ({"features": {k: v for k, v in IDENTITY.items() if k != "rate"}}, "does not say the images a second"),
        ({"features": {**IDENTITY, "width": "x"}}, "channels"),
        ({"videos": {"a": 5}}, "record 'a' is no object"),
        ({"videos": {"a": {**ROW, "stride": -1.0}}}, "has a stride of -1.0 s"),
        ({"videos": {"a": {**ROW, "stride": float("nan")}}}, "stride"),
        ({"videos": {"a": {k: v for k, v in ROW.items() if k != "snippets"}}}, "snippets"),
        ({"videos": []}, "videos"),
    ],
)
def test_what_is_damaged_is_one_line(tmp_path, changes, words):
    with pytest.raises(InputError, match=rf"encoder\.json: .*{words}"):
        provenance.read(written(tmp_path, **changes))


def test_no_json(tmp_path):
    (tmp_path / provenance.NAME).write_text("{")
    with pytest.raises(InputError, match=r"encoder\.json: damaged"):
        provenance.read(tmp_path)


def test_differences_in_words():
    assert provenance.differences(IDENTITY, json.loads(json.dumps(IDENTITY))) == ""
    other = {**IDENTITY, "weights": "b" * 64, "stride": 8}
    assert provenance.differences(IDENTITY, other) == (
        "weights bbbbbbbbbbbb.., not aaaaaaaaaaaa..; images from clip to clip 8, not 4"
    )


def test_times_of_images():
    """By their stamps where nothing is said, as all were before there was a choice."""
    by_index = {**IDENTITY, "times": "index"}
    assert provenance.differences(IDENTITY, {**IDENTITY, "times": "stamps"}) == ""
    assert provenance.differences(IDENTITY, by_index) == "times of images by index, not stamps"
    assert provenance.check_identity("encoder.json", IDENTITY) == IDENTITY
    assert provenance.check_identity("encoder.json", by_index) == by_index
