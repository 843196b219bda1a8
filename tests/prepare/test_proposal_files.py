"""Files of proposals in seconds or, as BSN and BMN write them, in fractions of the recordings."""

import json

import numpy as np
import pytest

from tal_jax.data import proposals
from tal_jax.errors import InputError
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare

LENGTHS = {"a": 60, "b": 120}  # snippets of half a second


@pytest.fixture
def arguments(tmp_path):
    """As BSN's own: columns xmin, xmax and scores, times in [0, 1]. The annotations give no durations."""
    database = {id: {"subset": "training", "annotations": [{"label": "run", "segment": [6, 12]}]} for id in LENGTHS}
    (tmp_path / "a.json").write_text(json.dumps({"database": database}))
    for name in ("x", "csv"):
        (tmp_path / name).mkdir()
    for id, length in LENGTHS.items():
        np.save(tmp_path / "x" / f"{id}.npy", np.ones((length, 3), np.float32))
        rows = "0.2,0.4,0.9,0.9,0.81\n0.0,1.0,0.5,0.5,0.25\n"
        (tmp_path / "csv" / f"v_{id}.csv").write_text(f"xmin,xmax,xmin_score,xmax_score,score\n{rows}")
    return {
        "annotations": str(tmp_path / "a.json"), "features": {"x": str(tmp_path / "x")}, "stride": "0.5",
        "out": str(tmp_path / "data"), "proposals": str(tmp_path / "csv"), "workers": 1,
    }  # fmt: skip


def test_fractions_are_refused_before_anything_is_packed(arguments, tmp_path):
    said = r"^--proposals=.*csv: every segment ends by 1.01, in recordings of 45 s: these are fractions .*_units=fract"
    with pytest.raises(InputError, match=said):
        prepare(Options(**arguments))
    assert not (tmp_path / "data").exists()


def test_fractions_become_seconds_where_the_user_says_so(arguments, tmp_path):
    prepare(Options(**arguments, proposal_units="fractions"))
    found = proposals.read(tmp_path / "data")
    np.testing.assert_allclose(found["a"][0], [[6, 12], [0, 30]], rtol=1e-6)
    np.testing.assert_allclose(found["b"][0], [[12, 24], [0, 60]], rtol=1e-6)
    assert found["b"][1].tolist() == pytest.approx([0.81, 0.25])
    with pytest.raises(InputError, match="other arguments"):  # the same set, had they been seconds
        prepare(Options(**arguments, proposal_units="seconds"))


def test_the_user_may_insist_on_seconds(arguments, tmp_path):
    prepare(Options(**arguments, proposal_units="seconds"))
    np.testing.assert_allclose(proposals.read(tmp_path / "data")["a"][0], [[0.2, 0.4], [0, 1]], rtol=1e-6)


def test_files_of_windows_are_read(arguments, tmp_path):
    (tmp_path / "csv" / "v_b.csv").write_bytes("\ufeffxmin,xmax,score\r\n3,17.5,0.5\r\n".encode())
    prepare(Options(**arguments))
    assert proposals.read(tmp_path / "data")["b"][0].tolist() == [[3, 17.5]]


def test_seconds_are_no_fractions(arguments, tmp_path):
    (tmp_path / "csv" / "v_b.csv").write_text("start,end,score\n3,17.5,0.5\n")
    with pytest.raises(InputError, match=r"v_b.csv: record b: an end of 17.5 is no fraction: are these seconds"):
        prepare(Options(**arguments, proposal_units="fractions"))
    prepare(Options(**{**arguments, "out": str(tmp_path / "other")}))
    assert proposals.read(tmp_path / "other")["b"][0].tolist() == [[3, 17.5]]


def test_times_in_images_are_refused_before_anything_is_packed(arguments, tmp_path):
    """25 a second: the recordings last 30 and 60 seconds."""
    for id in LENGTHS:
        rows = "150,300,0.9\n200,250,0.5\n0,700,0.1\n"
        (tmp_path / "csv" / f"v_{id}.csv").write_text(f"start,end,score\n{rows}")
    with pytest.raises(
        InputError, match=r"^--proposals=.*csv: 6 of 6 segments lie beyond .* insist with --proposal_un"
    ):
        prepare(Options(**arguments))
    assert not (tmp_path / "data").exists()
    prepare(Options(**arguments, proposal_units="seconds"))
