"""How each stream is stored and what is said of it, from its files to the records of the set."""

import json

import numpy as np
import pytest

from tal_jax.data import dataset
from tal_jax.data.normalization import measure
from tal_jax.errors import InputError
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare

rng = np.random.default_rng(0)
STAIRS = 1013.25 - np.linspace(0, 0.46, 461)


def options(folder, features, **changes):
    """Options for recordings of 461 snippets; the arrays [T, C] of each are saved, text is written as CSV."""
    database = {}
    for name, recordings in features.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for id, x in recordings.items():
            if isinstance(x, str):
                (folder / name / f"{id}.csv").write_text(x)
            else:
                np.save(folder / name / f"{id}.npy", x)
            segments = [{"segment": [1.0, 4.0], "label": "a"}]
            database[id] = {"subset": "training", "annotations": segments}
    (folder / "a.json").write_text(json.dumps({"database": database}))
    paths = {name: str(folder / name) for name in features}
    return Options(str(folder / "a.json"), paths, "0.5", str(folder / "data"), workers=1, **changes)


def lines(text, *words):
    return [line for line in text.splitlines() if all(word in line for word in words)]


def test_a_stream_that_float16_would_harm_is_stored_as_float32(tmp_path, capsys):
    imu = {id: rng.normal(size=(461, 6)).astype(np.float32) for id in ("a", "b")}
    air = {"a": np.column_stack([STAIRS, rng.normal(size=461)]), "b": np.column_stack([STAIRS[::-1], np.zeros(461)])}
    text = prepare(options(tmp_path, {"imu": imu, "air": air}))
    (row,) = lines(text, "air", "[T, C]")
    assert row.split() == ["air", "2", "[T,", "C]", "float64", ".npy", "float32", *row.split()[7:]]
    assert lines(text, "imu", "6", "float32 .npy", "float16", "0.0%")
    assert lines(text, "air: stored as float32: float16 rounds channel 0 by", "record a")
    assert "stream air is written again as float32" in capsys.readouterr().err
    data = dataset.open_split(tmp_path / "data", "training")
    assert data.metadata.dtypes == {"imu": "float16", "air": "float32"}
    np.testing.assert_array_equal(data[0].features["air"], air["a"].astype(np.float32), strict=True)
    np.testing.assert_array_equal(data[0].features["imu"], imu["a"].astype(np.float16), strict=True)
    assert len(np.unique(data[0].features["air"][:, 0])) == 461
    statistics = measure(data, ("imu", "air"))
    assert statistics.std[6] == pytest.approx(STAIRS.std(), rel=1e-4)
    # What is complete says the same again.
    assert prepare(options(tmp_path, {"imu": imu, "air": air})).endswith(text)


def test_a_magnetometer_in_tesla_is_kept_and_normalised(tmp_path):
    mag = {id: 1e-13 * rng.normal(size=(461, 3)) for id in ("a", "b")}
    text = prepare(options(tmp_path, {"mag": mag}))
    assert lines(text, "mag: stored as float32: float16 makes zeros of channel")
    data = dataset.open_split(tmp_path / "data", "training")
    np.testing.assert_array_equal(data[1].features["mag"], mag["b"].astype(np.float32))
    x = measure(data, ("mag",))(data[0].features["mag"])
    assert x.std() == pytest.approx(1, abs=0.1)


def test_what_float32_would_spoil_is_refused(tmp_path):
    ms = {"a": np.column_stack([1.7e12 + np.arange(461) * 20.0, rng.normal(size=461)])}
    with pytest.raises(InputError, match=r"stream clock: float32 rounds channel 0 by \d+% of its spread \(record a\)"):
        prepare(options(tmp_path, {"clock": ms}))
    assert not (tmp_path / "data" / "dataset_info.json").exists()


def test_an_interrupted_rewrite_goes_on_to_the_same_set(tmp_path, monkeypatch):
    air = {id: STAIRS[:, None] + i for i, id in enumerate("abcd")}
    given = options(tmp_path / "x", {"air": air})
    prepare(given)
    again = options(tmp_path / "y", {"air": air})
    from tal_jax.prepare import prepare as command

    whole, calls = command._pack, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        whole(*arguments)

    monkeypatch.setattr(command, "_pack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(again)
    monkeypatch.setattr(command, "_pack", whole)
    prepare(again)
    one, other = (sorted((tmp_path / name / "data").glob("*.tfrecord*")) for name in "xy")
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in other]


def table(x, header, index=False):
    rows = [",".join([str(i)] * index + [repr(float(v)) for v in row]) for i, row in enumerate(x)]
    return "\n".join([header, *rows]) + "\n"


def test_csv_streams_say_what_was_assumed(tmp_path):
    x = {id: rng.normal(size=(461, 3)) for id in ("a", "b", "c")}
    files = {
        "a": table(x["a"], "0,1,2"),
        "b": table(x["b"], ",0,1,2", index=True),
        "c": table(x["c"], "0,1,2"),
    }
    text = prepare(options(tmp_path, {"imu": files}))
    assert lines(text, "imu: in 3 of 3 files: header 0..2")
    assert lines(text, "imu: in 1 of 3 files: column 1 (no name) left out, it numbers the rows")
    data = dataset.open_split(tmp_path / "data", "training")
    for record in data.records(range(3)):
        np.testing.assert_array_equal(record.features["imu"], x[record.id].astype(np.float16), strict=True)


def test_headers_that_name_columns_in_another_order_are_refused(tmp_path):
    x = rng.normal(size=(461, 2))
    with pytest.raises(InputError, match=r"stream imu: files with a header of 2 names: ax, ay, and with .* ay, ax"):
        prepare(options(tmp_path, {"imu": {"a": table(x, "ax,ay"), "b": table(x, "ay,ax")}}))


def test_constant_channels_are_said(tmp_path):
    x = np.column_stack([rng.normal(size=461), np.full(461, 0.1)])
    text = prepare(options(tmp_path, {"imu": {"a": x}}))
    assert lines(text, "imu: 1 of 2 channels never change")
    assert lines(text, "imu", "float16", "0.0%")
