"""The table of the benchmarks: every verdict from figures that are known."""

import pytest

from benchmarks import report
from benchmarks.cases import CASES


def results(ratio, memory):
    case = {
        "ours_seconds": 0.5,
        "torch_seconds": 0.5 * ratio,
        "ratio": ratio,
        "ours_peak_bytes": 1_000_000_000,
        "torch_peak_bytes": int(memory * 1e9),
    }
    return {"cases": {c.name: {**case, "torch_compile": {"error": "no compiler"}} for c in CASES}}


def row(found, title):
    return next(line for line in report.table(found).splitlines() if line.startswith(f"| {title}"))


@pytest.mark.parametrize(
    ("ratio", "memory", "verdict"),
    [
        (5.0, 4.0, "| aim reached; memory 1/4.0, aim reached (1/2, 1/4) |"),
        (3.0, 2.5, "| reached; memory 1/2.5, reached (1/2, 1/4) |"),
        (2.9, 1.5, "| **falls short**; memory 1/1.5, **falls short** (1/2, 1/4) |"),
    ],
)
def test_verdicts(ratio, memory, verdict):
    line = row(results(ratio, memory), "BMN training step, T = 100, batch 2")
    assert line.endswith(verdict)
    assert f"| {ratio:.1f} | 3, 5 | 1.00 / {memory:.2f} GB |" in line


def test_growth_map_and_what_does_not_work():
    found = results(1, 1)
    found["map"] = {"seconds": 4.5}
    found["growth"] = {"snippets": [10, 20], "forward_seconds": [1.0, 2.0], "gradient_seconds": [1.0, 3.0]}
    table = report.table(found)
    assert "| 4.50 s | - | - | 10 s, 4 s | - | reached |" in table
    assert "| 20 | 2.00 s | 1.00 | 3.00 s | 1.50 |" in table
    assert "does not work here (no compiler)" in table


def test_writing_keeps_the_rest_of_the_page(tmp_path, monkeypatch):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "README", page)
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results.json")
    report.write(results(2, 2))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert report.read() == results(2, 2)
