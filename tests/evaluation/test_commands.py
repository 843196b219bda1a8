"""launch.evaluate and launch.plot as a user types them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / "../shared/data"
PUBLISHED = {
    "thumos14_stpn": ("0.1:0.9:0.1", [52.1, 44.2, 34.7, 26.1, 17.7, 10.1, 5.0, 1.3, 0.1]),
    "thumos14_autoloc": ("0.3:0.7:0.1", [35.8, 29.0, 21.2, 13.4, 5.8]),
}


def run(command, **options):
    arguments = [f"--{key}={value}" for key, value in options.items()]
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", f"launch.{command}", *arguments], cwd=ROOT, capture_output=True, text=True
    )


@pytest.fixture
def files(tmp_path):
    database = {
        "v1": {"subset": "val", "annotations": [{"label": "run", "segment": ["0", "10"]}]},
        "v2": {"subset": "val", "annotations": [{"label": "jump", "segment": [5, 9]}]},
    }
    results = {"v1": [{"label": "run", "score": 0.9, "segment": [0, 8]}]}
    truth, detections = tmp_path / "a.json", tmp_path / "d.json"
    truth.write_text(json.dumps({"database": database}))
    detections.write_text(json.dumps({"results": results}))
    return {"ground_truth": truth, "detections": detections, "subset": "validation"}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("subset", ["test", "testing"])
def test_reproduces_published_figures(tmp_path, name, subset):
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"the detections published with {name} are not here")
    tiou, expected = PUBLISHED[name]
    done = run(
        "evaluate",
        ground_truth=folder / "ground_truth.json",
        detections=folder / "detections.json",
        subset=subset,
        tiou=tiou,
        json=tmp_path / "r.json",
    )
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads((tmp_path / "r.json").read_text())
    assert [round(100 * value, 1) for value in result["mAP"].values()] == expected
    assert done.stdout.splitlines()[-1].split()[1:-1] == [f"{value:.1f}" for value in expected]


def test_table_and_json(files, tmp_path):
    done = run("evaluate", **files, json=tmp_path / "r.json", tiou="0.5,0.75,0.9,0.625")
    assert (done.returncode, done.stderr) == (0, "")
    assert "missing: 1 recording (v2) not in the detections" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["run", "100.0", "100.0", "0.0", "100.0", "75.0"] in lines
    assert lines[-1] == ["mAP", "50.0", "50.0", "0.0", "50.0", "37.5"]
    assert json.loads((tmp_path / "r.json").read_text()) == {
        "average_mAP": 0.375,
        "mAP": {"0.50": 0.5, "0.75": 0.5, "0.90": 0.0, "0.625": 0.5},
        "per_class": {
            "jump": {"average": 0.0, "0.50": 0.0, "0.75": 0.0, "0.90": 0.0, "0.625": 0.0},
            "run": {"average": 0.75, "0.50": 1.0, "0.75": 1.0, "0.90": 0.0, "0.625": 1.0},
        },
    }


def test_proposals_need_no_label(files, tmp_path):
    files["detections"].write_text('{"results": {"v1": [{"score": 1, "segment": [0, 8]}]}}')
    refused = run("evaluate", **files)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--proposals" in refused.stderr
    done = run("evaluate", **files, proposals=True, json=tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    # One of two segments, whose only proposal reaches 7 of 10 thresholds.
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["AR"]["100"] == pytest.approx(0.35)
    assert set(result) == {"AUC", "AR"}
    assert "AUC" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"subset": "testing"}, "it has validation (2 recordings)"),
        ({"detections": "none.json"}, "none.json: cannot be read"),
        ({"tiou": "0.5:0.9"}, "--tiou"),
        ({"json": "none/r.json"}, "none/r.json: cannot be written"),
        ({"blocked": "none.txt"}, "none.txt: cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_status_2(files, change, says):
    done = run("evaluate", **files | change)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("launch.evaluate: error: ")


def test_plot(files, tmp_path):
    done = run("plot", **files, out=tmp_path / "f.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert "2 of 2 recordings" in done.stdout
    refused = run("plot", **files, out=tmp_path / "f.png", recordings=0)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
