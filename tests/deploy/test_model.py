"""Long recordings and feature files with an exported model, by a stage that detects what its input shows."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from support.commands import ROOT
from support.oracle import long_recording, model_of

from tal_jax.deploy import feature_inputs as files
from tal_jax.deploy import load
from tal_jax.deploy.recording import Recording, ResolvedRecording
from tal_jax.errors import InputError
from tal_jax.windows import Framing, Normalization, WindowDetections

T = 32


class Disk:
    """An array of which nobody reads more than `limit` rows at once."""

    def __init__(self, x, limit):
        self.x, self.limit, self.shape = x, limit, x.shape
        self.reads = 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, rows):
        part = self.x[rows]
        assert len(part) <= self.limit
        self.reads += 1
        return part


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_no_action_is_lost_wherever_the_seams_lie(scale):
    """Two hours at 8/15 s, the seams moved over all of their places."""
    model = model_of(Framing("window", T, scale))
    for shift in range(0, int(T * scale), 9):
        x, truth = long_recording(shift, count=13_500 if shift == 0 else 1_000)
        disk = Disk(x, limit=int(T * scale) + 3)
        (found,) = model.detect([Recording([disk], stride=8 / 15)], batch_size=4)
        assert disk.reads == len(model.stages[0].framing.offsets(len(x)))
        segments = found.segments / (8 / 15)
        error = np.abs(segments[None] - truth[:, None]).max(-1)
        error[:, found.scores < 0.5] = np.inf
        assert error.min(axis=1).max() <= (0.01 if scale == 1 else 1.01)
        assert np.count_nonzero(found.scores > 0.5) == len(truth)


def test_batches_of_windows_and_recordings_change_nothing():
    model = model_of(Framing("window", T))
    lengths = (5, 32, 33, 200, 1, 64)
    given = [Recording([long_recording(0, n, seed=n)[0]], f"r{n}", 0.5) for n in lengths]
    expected = list(model.detect(given, 1))
    for size in (2, 3, 16):
        for a, b in zip(expected, model.detect(iter(given), size), strict=True):
            for x, y in zip(a, b, strict=True):
                np.testing.assert_array_equal(x, y)


def test_what_does_not_fit_is_refused():
    model = model_of(Framing("window", T))
    x = np.zeros((10, 2), np.float32)
    for features, words in (
        (np.zeros((10, 3)), r"shape \(10, 3\): the model takes x \[T, 2\]"),
        (np.zeros(10), "the model takes"),
        (np.zeros((0, 2)), "the model takes"),
        (np.full((10, 2), np.nan), "record recording: features that are not finite"),
    ):
        with pytest.raises(InputError, match=words):
            model(features)
    for stride in (-1.0, np.inf):
        with pytest.raises(InputError, match="both are positive"):
            model(x, stride)
    with pytest.raises(InputError, match=r"\(3,\) class scores for 1 classes"):
        model(x, class_scores=np.zeros(3))
    model.stride = None
    with pytest.raises(InputError, match="give its duration"):
        model(x)
    assert model.checked(Recording([x], duration=5.0)).stride == 0.5


def test_a_known_recording_is_as_long_as_its_shortest_stream():
    known = ResolvedRecording("r", [np.zeros((4, 1)), np.zeros((3, 1))], 1.0, 3.0, None, None)
    assert len(known) == 3


def test_rows_name_labels_and_proposals():
    model = model_of(Framing("window", T))
    scores = np.array([0.5, 0.25], np.float32)
    found = WindowDetections(np.array([[1.0, 2.5], [0, 1]]), np.array([0, -1]), scores, np.ones(2, bool))
    assert model.rows(found) == [
        {"label": "a", "score": 0.5, "segment": [1.0, 2.5]},
        {"score": 0.25, "segment": [0.0, 1.0]},
    ]


def opened(model, sources, **given):
    given = {
        "said": Counter(),
        "stride": None,
        "durations": {},
        "strides": {},
        "proposals": {},
        "class_scores": {},
    } | given
    return list(files.recordings(model, files.find(model, sources), **given))


def test_files(tmp_path):
    model = model_of(Framing("window", T), {"x": 2, "y": 3})
    rng = np.random.default_rng(0)
    for name, width in model.streams.items():
        (tmp_path / name).mkdir()
        for id in ("b", "a"):
            np.save(tmp_path / name / f"{id}.npy", rng.normal(size=(7, width)))
    x, y = (f"{name}={tmp_path / name}" for name in model.streams)
    np.save(tmp_path / "x" / "a.npy", np.asfortranarray(rng.normal(size=(2, 7))))  # channels first
    np.savetxt(tmp_path / "y" / "b.csv", rng.normal(size=(7, 3)), delimiter=",")
    (tmp_path / "y" / "b.npy").unlink()
    assert [r.stride for r in opened(model, [y, x], strides={"b": 0.25})] == [None, 0.25]
    assert [r.stride for r in opened(model, [y, x], strides={"b": 0.25}, stride=0.5)] == [0.5, 0.5]
    found = opened(model, [y, x])
    assert [r.id for r in found] == ["a", "b"]
    assert all([s.shape for s in r.streams] == [(7, 2), (7, 3)] for r in found)
    np.testing.assert_array_equal(found[0].streams[0], np.load(tmp_path / "x" / "a.npy").T)
    with pytest.raises(InputError, match="the model has the streams x, y"):
        opened(model, [x])
    with pytest.raises(InputError, match="the model has streams"):
        opened(model, [str(tmp_path / "x")])
    (tmp_path / "y" / "b.csv").unlink()
    with pytest.raises(InputError, match="record b: no file of stream y"):
        opened(model, [x, y])


def test_bad_files_are_named(tmp_path):
    model = model_of(Framing("window", T))
    with pytest.raises(InputError, match="no such file or folder"):
        opened(model, [str(tmp_path / "none")])
    with pytest.raises(InputError, match="no feature file"):
        opened(model, [str(tmp_path)])
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"notes\.txt: not a feature file"):
        opened(model, [str(tmp_path / "notes.txt")])
    np.save(tmp_path / "good.npy", np.zeros((9, 2)))
    np.save(tmp_path / "wide.npy", np.zeros((9, 5)))
    with pytest.raises(InputError, match=r"record wide: an array of \(9, 5\), but the model takes 2 channels"):
        opened(model, [str(tmp_path)])
    np.save(tmp_path / "wide.npy", np.array([[{}, 1]], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"wide.npy: record wide: holds an array of Python objects"):
        opened(model, [str(tmp_path / "wide.npy")])


def test_what_is_assumed_of_files_is_told(tmp_path):
    model = model_of(Framing("window", T), {"x": 3})
    rng = np.random.default_rng(0)
    wide, square = rng.normal(size=(3, 7)), rng.normal(size=(3, 3))
    np.save(tmp_path / "wide.npy", wide)
    np.save(tmp_path / "square.npy", square)
    said = Counter()
    first, second = opened(model, [str(tmp_path)], said=said)
    np.testing.assert_array_equal(first.streams[0], square.T)  # as the other file is
    np.testing.assert_array_equal(second.streams[0], wide.T)
    assert said == {("x", "3 x 3, read as [C, T]"): 1, ("x", "read as [C, T]"): 1}
    said.clear()
    (alone,) = opened(model, [str(tmp_path / "square.npy")], said=said)
    np.testing.assert_array_equal(alone.streams[0], square)
    assert said == {("x", "3 x 3, read as [T, C]"): 1}
    np.save(tmp_path / "long.npy", wide.T)
    with pytest.raises(InputError, match="record square: 3 x 3 is ambiguous"):
        opened(model, [str(tmp_path)])
    for name in ("long", "square", "wide"):
        (tmp_path / f"{name}.npy").unlink()
    rows = [f"{i / 2},{a},{b},{c}" for i, (a, b, c) in enumerate(wide.T)]
    (tmp_path / "r.csv").write_text("\n".join(["timestamp,a,b,c", *rows]))
    said.clear()
    (one,) = opened(model, [str(tmp_path)], said=said)
    np.testing.assert_array_equal(one.streams[0], wide.T)
    assert said == {
        ("x", "header of 3 names: a, b, c"): 1,
        ("x", "column 1 (timestamp) left out, it is a time, in steps of about 0.5"): 1,
    }


@pytest.mark.parametrize(
    "array",
    [
        np.full((9, 2), "1.5"),
        np.full((9, 2), b"1.5"),
        np.zeros((9, 2), "f4,f4"),
        np.zeros((9, 2), complex),
        np.zeros((9, 2), "datetime64[s]"),
        np.zeros((9, 2), "timedelta64[s]"),
        np.zeros(()),
        np.zeros(9),
        np.zeros((9, 2, 3)),
        np.full((9, 2), 1e300),
        np.full((9, 2), np.nan, np.float16),
    ],
    ids=lambda x: f"{x.dtype} {x.ndim}",
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_that_are_no_features(tmp_path, array, suffix):
    """By the readers, or where the windows are cut: nothing but numbers of float32 comes to the network."""
    path = tmp_path / f"r{suffix}"
    np.save(path, array) if suffix == ".npy" else np.savez(path, array)
    model = model_of(Framing("window", T))
    with pytest.raises(InputError, match="record r") as error:
        list(model.detect(opened(model, [str(path)])))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [1e10, 1e30, np.finfo(np.float32).max])
def test_features_far_beyond_all_training(value):
    model = model_of(Framing("window", T))
    with pytest.raises(InputError, match=r"record r: features up to .*: are they of the training's kind and units"):
        list(model.detect([Recording([np.full((9, 2), value)], "r", 0.5)]))
    mean, std = np.zeros(2, np.float32), np.full(2, 1e-3, np.float32)
    model.stages = (dataclasses.replace(model.stages[0], normalization=Normalization(mean, std)),)
    with pytest.raises(InputError, match=r"features 2e\+06 standard deviations from the training's mean"):
        list(model.detect([Recording([np.full((9, 2), 2e3)], "r", 0.5)]))
    assert list(model.detect([Recording([np.full((9, 2), 2e2)], "r", 0.5)]))


@pytest.mark.parametrize("field", ["scores", "segments"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite(field, value):
    """One recording of a batch: alone it is at fault, and its neighbours are found when it is left out."""
    model = model_of(Framing("window", T))
    sound = model.stages[0].predict

    def predict(inputs):
        found = sound(inputs)
        found[field][inputs["features"][:, 0, 1] == 7] = value
        found["mask"][inputs["features"][:, 0, 1] == 7, 0] = True
        return found

    model.stages = (dataclasses.replace(model.stages[0], predict=predict),)
    good, bad = np.zeros((9, 2)), np.full((9, 2), 7.0)
    given = [Recording([x], id, 0.5) for id, x in (("good", good), ("bad", bad))]
    with pytest.raises(InputError, match="record bad: the model's output is not finite, of features up to 7"):
        list(model.detect(given, 2))
    assert len(list(model.detect(given[:1], 2))) == 1
    stage, (known, other) = model.stages[0], [model.checked(r) for r in given]
    assert len(stage.run([(known, 0.0)], 2)) == 1
    with pytest.raises(InputError, match="record bad"):
        stage.run([(known, 0.0), (other, 0.0)], 2)


def test_the_model_of_the_demo_is_whole():
    """Its checksums hold, it knows its encoder, and it lacks nothing but that encoder's weights."""
    model = load(ROOT / "docs" / "home_videos_model")
    assert model.encoders["rgb"]["encoder"] == "efficientnet_lite0"
    assert not model.needs
    assert len(model.labels) == 9
