"""launch.report as a user types it: what it writes, and that its numbers are those of launch.evaluate."""

import csv
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from support.report_files import HOSTILE, HOSTILE_ID, HOSTILE_UNKNOWN, write_files

from tal_jax.data import annotations
from tal_jax.errors import InputError
from tal_jax.evaluation import detection_files as submission
from tal_jax.evaluation.detection import parse_tiou
from tal_jax.report import Material, analyse, compose, write_report
from tal_jax.report.analysis import likely_subset
from tal_jax.report.figure import render
from tal_jax.report.inputs import Point
from tal_jax.report.page import check_out

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STPN = ROOT / "../shared/data/thumos14_stpn"


def run(command, *arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", f"launch.{command}", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


class Page(HTMLParser):
    """Tables by id, the elements there are, and the data blocks."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.tags, self.blocks = {}, [], {}
        self._table, self._cell, self._block = None, None, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag == "table":
            self._table = self.tables[attributes.get("id")] = []
        if tag == "tr" and self._table is not None:
            self._table.append([])
        self._cell = "" if tag in ("td", "th") else self._cell
        if tag == "script":
            self._block = attributes.get("id")

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data
        if self._block:
            self.blocks[self._block] = self.blocks.get(self._block, "") + data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._table[-1].append(self._cell)
            self._cell = None
        if tag == "script":
            self._block = None


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One report on two files, and what launch.evaluate says of the first."""
    folder = tmp_path_factory.mktemp("report")
    truth, first = write_files(folder, hostile=True)
    _, second = write_files(folder, hostile=True, seed=1, name="other")
    done = run(
        "report", f"--ground_truth={truth}", f"--detections={first}", f"--detections=second={second}",
        f"--out={folder / 'out'}", "--shown=8",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    for name, flags in (("r", ()), ("p", ("--proposals",))):
        base = [f"--ground_truth={truth}", f"--detections={first}", "--subset=validation"]
        assert run("evaluate", *base, f"--json={folder / name}.json", *flags).returncode == 0
    return folder, done.stdout


def test_numbers_are_those_of_evaluate(written):
    folder, printed = written
    page = Page((folder / "out" / "index.html").read_text())
    precision, recall = (json.loads((folder / f"{name}.json").read_text()) for name in "rp")
    head, first, second = page.tables["table-map"]
    assert (first[0], second[0]) == ("d", "second")
    expected = {**precision["mAP"], "average": precision["average_mAP"]}
    assert dict(zip(head[1:], first[1:], strict=True)) == {k: f"{100 * v:.1f}" for k, v in expected.items()}
    assert f"d: average mAP {100 * precision['average_mAP']:.1f}" in printed
    head, first, _ = page.tables["table-recall"]
    found = dict(zip(head[1:], first[1:], strict=True))
    assert found["AUC"] == f"{100 * recall['AUC']:.2f}"
    assert {n: found[f"AN={n}"] for n in recall["AR"]} == {n: f"{100 * v:.1f}" for n, v in recall["AR"].items()}
    classes = {row[0]: row[2] for row in page.tables["table-classes"][1:-1]}
    assert classes == {k: f"{100 * v['average']:.1f}" for k, v in precision["per_class"].items()}

    figures = folder / "out" / "figures"
    for row in rows_of(figures / "map.csv"):
        if row["run"] == "d":
            assert float(row["map"]) == pytest.approx(100 * precision["mAP"][f"{float(row['tiou']):.2f}"], abs=1e-5)
    for row in rows_of(figures / "classes.csv"):
        if row["run"] == "d":
            assert float(row["ap"]) == pytest.approx(100 * precision["per_class"][row["class"]][row["tiou"]], abs=1e-5)
    at_hundred = [r for r in rows_of(figures / "recall.csv") if r["run"] == "d" and float(r["proposals"]) == 100]
    average = next(float(r["recall"]) for r in at_hundred if r["tiou"] == "average")
    assert average == pytest.approx(100 * recall["AR"]["100"], abs=1e-5)


def test_every_figure_has_a_picture_and_its_numbers(written):
    figures = written[0] / "out" / "figures"
    names = {
        "map",
        "recall",
        "precision_recall",
        "calibration",
        "classes",
        "error_profile",
        "error_cost",
        "sensitivity",
    }
    for name in names:
        assert (figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert rows_of(figures / f"{name}.csv")
    assert {p.stem for p in figures.glob("*.csv")} == names | {"recordings", "segments"}
    assert {p.stem for p in figures.glob("recording_*.png")} == {f"recording_{n}" for n in range(1, 7)}
    assert len(rows_of(figures / "recordings.csv")) == 12
    segments = rows_of(figures / "segments.csv")
    for key, what in {(r["id"], r["what"]) for r in segments if r["what"] != "truth"}:
        scores = [float(r["score"]) for r in segments if (r["id"], r["what"]) == (key, what)]
        assert len(scores) == 8
        assert scores == sorted(scores, reverse=True)
    for row in rows_of(figures / "error_cost.csv"):
        assert float(row["cost"]) >= 0


def test_text_of_others_stays_text(written):
    text = (written[0] / "out" / "index.html").read_text()
    page = Page(text)
    assert not [a for tag, a in page.tags if tag == "img" or any(name.startswith("on") for name in a)]
    assert sum(tag == "script" for tag, _ in page.tags) == 3 + 7
    content = json.loads(page.blocks["data-recordings"])
    assert HOSTILE in content["labels"]
    assert HOSTILE_UNKNOWN in content["labels"]
    assert content["ids"][0] == HOSTILE_ID
    for hostile in (HOSTILE, HOSTILE_ID, HOSTILE_UNKNOWN):
        assert hostile not in text
    assert not re.search(r'(?:src|href)="(?!#)', text[: text.index("<script")])


def test_the_page_asks_for_nothing(written):
    text = (written[0] / "out" / "index.html").read_text()
    policy = dict(Page(text).tags[3][1])["content"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'sha256-" in policy
    assert not re.search(r"script-src[^;]*unsafe", policy)


def test_the_account_says_what_is_left_out(written):
    text = (written[0] / "out" / "index.html").read_text()
    for part in ("missing: 1 recording (video_00003)", "unknown: 1 recording (unknown_video)", "best 8 detections"):
        assert part in text
    assert "have a class that the truth does not have" in text
    head, *rows, last = Page(text).tables["table-kinds"]
    assert head == ["kind", "meaning", "d", "%", "second", "%"]
    for column in (2, 4):
        counts = [int(row[column].replace(",", "")) for row in rows]
        assert sum(counts) == int(last[column].replace(",", ""))


@pytest.mark.parametrize(
    "options", [{"recordings": 1, "classes": 1}, {"recordings": 2, "classes": 1, "per_recording": 1}]
)
def test_small_inputs(tmp_path, options):
    truth, found = write_files(tmp_path, **options)
    recordings = annotations.read(truth)
    runs = [analyse("d", recordings, submission.read(found), "val", parse_tiou("0.5"))]
    report = compose(runs, recordings, title="small", shown=5)
    write_report(tmp_path / "o", report)
    head, row = Page(report.html).tables["table-map"]
    assert head == ["mAP % at tIoU", "0.50", "average"]
    assert row[1] == row[2]


def test_what_does_not_fit_a_page(tmp_path):
    truth, found = write_files(tmp_path)
    recordings, content = annotations.read(truth), submission.read(found)
    with pytest.raises(InputError, match="91 thresholds"):
        analyse("d", recordings, content, "validation", parse_tiou("0.05:0.95:0.01"))
    with pytest.raises(InputError, match="--split=testing"):
        analyse("d", recordings, content, "testing", parse_tiou("0.5"))
    run = analyse("d", recordings, content, "validation", parse_tiou("0.5"))
    with pytest.raises(InputError, match="at most 4 of different names"):
        compose([run, run], recordings, title="", shown=5)
    bare = submission.Submission(("video_00000",), (), content.table.take(np.arange(1)))
    bare.table.label[:] = -1
    with pytest.raises(InputError, match="without a label"):
        analyse("d", recordings, bare, "validation", parse_tiou("0.5"))


def test_the_subset_is_that_of_most_recordings(tmp_path):
    truth, found = write_files(tmp_path)
    recordings, content = annotations.read(truth), submission.read(found)
    assert likely_subset(recordings, content) == "validation"
    other = submission.Submission(("elsewhere",), (), content.table.take(np.arange(0)))
    assert likely_subset(recordings, other) == "training"


def test_figures_of_an_earlier_report_go(tmp_path):
    truth, found = write_files(tmp_path, recordings=8)
    figures = tmp_path / "o" / "figures"
    figures.mkdir(parents=True)
    (figures / "training_old.png").write_bytes(b"")
    (figures / "notes.txt").write_bytes(b"mine")
    recordings = annotations.read(truth)
    runs = [analyse("d", recordings, submission.read(found), "validation", parse_tiou("0.5"))]
    report = compose(runs, recordings, title="new", shown=5)
    write_report(tmp_path / "o", report)
    assert (figures / "training_old.png").exists(), "somebody's own: there was no report before"
    write_report(tmp_path / "o", report)
    assert not (figures / "training_old.png").exists()
    assert (figures / "notes.txt").exists()


def test_another_page_is_not_replaced(tmp_path):
    (tmp_path / "index.html").write_text("<html>my home page</html>")
    with pytest.raises(InputError, match=r"index.html that is no report: name another folder"):
        check_out(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--detections=e=missing.json"], "missing.json: cannot be read"),
        (["--workdir=nothing"], "nothing is not the workdir"),
        (["--out=README.md"], "cannot be written"),
        (["--shown=0"], "--shown"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, change, says):
    truth, found = write_files(tmp_path, recordings=6)
    done = run("report", f"--ground_truth={truth}", f"--detections={found}", f"--out={tmp_path / 'o'}", *change)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_published_detections(tmp_path):
    if not STPN.is_dir():
        pytest.skip("the published detections are not here")
    done = run(
        "report", f"--ground_truth={STPN / 'ground_truth.json'}", f"--detections={STPN / 'detections.json'}",
        "--tiou=0.1:0.9:0.1", f"--out={tmp_path}",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    tables = Page((tmp_path / "index.html").read_text()).tables
    assert tables["table-map"][1][1:-1] == ["52.1", "44.2", "34.7", "26.1", "17.7", "10.1", "5.0", "1.3", "0.1"]
    assert tables["table-kinds"][-1][2] == "9,151"


def test_names_of_stages_are_no_paths(tmp_path):
    truth, found = write_files(tmp_path, recordings=2)
    recordings = annotations.read(truth)
    runs = [analyse("d", recordings, submission.read(found), "validation", parse_tiou("0.5"))]
    history = (Point("../../up", "loss", 1, 0.5), Point("bmn", "loss", 1, 0.5))
    report = compose(runs, recordings, [Material("w", history)], title="t", shown=1)
    assert [f.name for f in report.figures if f.section == "training"] == ["training_1", "training_bmn"]


def test_text_that_no_picture_can_hold_is_drawn_as_a_replacement():
    """vl-convert would end the whole process."""
    chart = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "data": {"values": [{"label": "a\x1b[31m\x00\ufffe", "n": 1}]},
        "mark": "bar",
        "encoding": {"y": {"field": "label", "type": "nominal"}, "x": {"field": "n", "type": "quantitative"}},
    }
    assert render(chart).startswith(b"\x89PNG")
