"""benchmarks/results.json, and the table in benchmarks/README.md that is made of it."""

import json
from pathlib import Path
from typing import Any

from benchmarks.cases import ATTENTION_GROWTH, CASES, MAP_AIM, MAP_REACH, Case

FOLDER = Path(__file__).parent
RESULTS, README = FOLDER / "results.json", FOLDER / "README.md"
BEGIN, END = "<!-- table: written by benchmarks.run -->", "<!-- end of table -->"


def read() -> dict[str, Any]:
    """The results so far."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {"cases": {}}


def write(results: dict[str, Any]) -> None:
    """Writes results and table."""
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    text = README.read_text()
    before, rest = text.split(BEGIN)
    README.write_text(before + BEGIN + "\n\n" + table(results) + "\n\n" + END + rest.split(END)[1])


OTHER_SIDES = {  # keys of a case's results
    "torch_compile": "`torch.compile` on the PyTorch side:",
    "torch_allocation": "PyTorch with the settings of memory that `launch` asks for (`GLIBC_TUNABLES`), alone:",
}


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def _verdict(value: float, reach: float, aim: float) -> str:
    return "aim reached" if value >= aim else "reached" if value >= reach else "**falls short**"


def _memory(case: Case, found: dict[str, Any]) -> tuple[str, str]:
    ours, theirs = found["ours_peak_bytes"], found["torch_peak_bytes"]
    text = f"{ours / 1e9:.2f} / {theirs / 1e9:.2f} GB"
    if "ours_first_peak_bytes" in found:
        text += f" (compiling: {found['ours_first_peak_bytes'] / 1e9:.2f})"
    if case.memory is None:
        return text, ""
    reach, aim = case.memory
    verdict = _verdict(theirs / ours, 1 / reach, 1 / aim)
    return text, f"; memory 1/{theirs / ours:.1f}, {verdict} (1/{1 / reach:g}, 1/{1 / aim:g})"


def table(results: dict[str, Any]) -> str:
    """The results in Markdown."""
    lines = [
        "| work | tal_jax | PyTorch | ratio | reach, aim | peak memory, tal_jax / PyTorch | |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        found = results["cases"].get(case.name)
        if not found:
            continue
        memory, verdict = _memory(case, found)
        lines.append(
            f"| {case.title} | {_seconds(found['ours_seconds'])} | {_seconds(found['torch_seconds'])} | "
            f"{found['ratio']:.1f} | {case.reach:g}, {case.aim:g} | {memory} | "
            f"{_verdict(found['ratio'], case.reach, case.aim)}{verdict} |"
        )
    if "map" in results:
        seconds = results["map"]["seconds"]
        verdict = "aim reached" if seconds <= MAP_AIM else "reached" if seconds <= MAP_REACH else "**falls short**"
        lines.append(
            f"| mAP at 10 thresholds, 5,981 recordings, 1.2 million detections, JSON included | {_seconds(seconds)} | "
            f"- | - | {MAP_REACH:g} s, {MAP_AIM:g} s | - | {verdict} |"
        )
    for key, title in OTHER_SIDES.items():
        measured = [(case, results["cases"].get(case.name, {})) for case in CASES]
        rows = [f"- {case.title}: {_other(found, key)}" for case, found in measured if found.get(key)]
        if rows:
            lines += ["", title, "", *rows]
    if "growth" in results:
        lines += ["", *_growth(results["growth"])]
    if "environment" in results:
        e = results["environment"]
        lines += [
            "",
            f"Measured on {e['date']}: {e['cpu']}, {e['cores']} cores, Python {e['python']}, jax {e['jax']}, flax "
            f"{e['flax']}, NumPy {e['numpy']}, PyTorch {e['torch']}.",
        ]
    return "\n".join(lines)


def _other(found: dict[str, Any], key: str) -> str:
    other = found[key]
    if "error" in other:
        return f"does not work here ({other['error']})"
    return f"{_seconds(other['seconds'])}, {other['seconds'] / found['ours_seconds']:.1f} times as long as tal_jax"


def _growth(found: dict[str, Any]) -> list[str]:
    lines = [
        "Local attention W = 9, 8 heads of 64; the time of each T relative to linear growth from the T before "
        f"(at most {ATTENTION_GROWTH:g} is asked for):",
        "",
        "| T | forward | growth | with gradients | growth |",
        "|---|---|---|---|---|",
    ]
    t, columns = found["snippets"], (found["forward_seconds"], found["gradient_seconds"])
    for i, length in enumerate(t):
        cells = []
        for seconds in columns:
            growth = f"{seconds[i] / seconds[i - 1] / (t[i] / t[i - 1]):.2f}" if i else "-"
            cells += [_seconds(seconds[i]), growth]
        lines.append(f"| {length:,} | " + " | ".join(cells) + " |")
    return lines
