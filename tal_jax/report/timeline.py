"""The time line of one recording: truth, detections of every run, class activation sequences of every stage.

The page lays out the recording that is chosen (static/timeline.js), this file those of the PNGs, in the same way.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from tal_jax.report.browser import LEVELS
from tal_jax.report.figure import specification
from tal_jax.report.rows import Rows

WIDTH = 820
TRUTH_LANE, LANE, PANEL, GAP = 16, 11, 46, 9  # pixels
NARROWEST = 400  # no bar is drawn shorter than this part of the time line
PICTURED = 6  # recordings with a PNG


def template() -> dict[str, Any]:
    """The specification, without data (`bars`, `areas`, `names`, `bounds`), size and colours: see `filled`."""
    x = alt.X("x:Q", title="seconds", scale=alt.Scale(domain=[0, {"expr": "seconds"}], nice=False),
              axis=alt.Axis(grid=False))  # fmt: skip
    y = alt.Y("y:Q", title=None, axis=None, scale=alt.Scale(domain=[0, {"expr": "tall"}], reverse=True, nice=False))
    colour = alt.Color("class:N", title=None, legend=alt.Legend(orient="top", labelLimit=240, columns=4))
    bars = (
        alt.Chart(alt.NamedData("bars"))
        .mark_rect(cornerRadius=1)
        .encode(
            x=x, x2="x2", y=y, y2="y2", color=colour,
            fillOpacity=alt.FillOpacity("weight:Q", scale=None),
            stroke=alt.condition("datum.right", alt.value("#202020"), alt.value("transparent")),
            strokeWidth=alt.value(1.2),
            tooltip=[
                alt.Tooltip("what:N"), alt.Tooltip("class:N"), alt.Tooltip("score:Q"),
                alt.Tooltip("own:Q", title="tIoU with its class", format=".2f"),
                alt.Tooltip("other:Q", title="tIoU with other classes", format=".2f"),
                alt.Tooltip("kind:N"),
                alt.Tooltip("start:Q", title="start (s)", format=".2f"),
                alt.Tooltip("end:Q", title="end (s)", format=".2f"),
            ],
        )
    )  # fmt: skip
    areas = alt.Chart(alt.NamedData("areas")).encode(x=x, y=y, color=colour, detail="series:N")
    area = areas.transform_filter("datum.present").mark_area(opacity=0.25).encode(y2="y2")
    line = areas.mark_line(strokeWidth=1.2).encode(
        strokeDash=alt.condition("datum.present", alt.value([1, 0]), alt.value([4, 2]))
    )
    bounds = alt.Chart(alt.NamedData("bounds")).mark_rule(color="#606060", strokeWidth=0.5, opacity=0.6)
    floors = alt.Chart(alt.NamedData("names")).transform_filter("datum.floor").mark_rule(color="#D8D8D8")
    text = alt.Chart(alt.NamedData("names")).mark_text(align="right", fontSize=11, color="#404040", limit=170)
    chart = alt.layer(
        bars,
        bounds.encode(x=x),
        floors.encode(y=alt.Y("y2:Q", title=None, axis=None)),
        area,
        line,
        text.encode(x=alt.value(-8), y=y, text="text:N"),
    ).properties(width=WIDTH, height=100)
    chart = chart.add_params(alt.param(name="seconds", value=1), alt.param(name="tall", value=1))
    return specification(chart)


def filled(template: Mapping[str, Any], content: Mapping[str, Any], i: int, width: int = WIDTH) -> dict[str, Any]:
    """The specification of recording i.

    Args:
      template: the specification that `template` returns.
      content: the columns that `browser.browser` returns.
      i: the position of the recording in them.
      width: the width of the plot in pixels.
    """
    datasets, tall, classes = layout(content, i)
    colours, labels = content["colours"], content["labels"]
    bars, *rest = template["layer"]
    encoding = bars["encoding"]
    scale = {"domain": [labels[k] for k in classes], "range": [colours[k] for k in classes]}
    encoding = {**encoding, "color": {**encoding["color"], "scale": scale}}
    params = [
        {**p, "value": {"seconds": content["span"][i], "tall": tall}.get(p["name"], p["value"])}
        for p in template["params"]
    ]
    return {
        **template, "layer": [{**bars, "encoding": encoding}, *rest], "params": params,
        "width": width, "height": tall, "datasets": datasets,
        "title": {"text": content["ids"][i], "anchor": "start", "fontSize": 12, "limit": width},
    }  # fmt: skip


def layout(content: Mapping[str, Any], i: int) -> tuple[dict[str, Rows], int, list[int]]:
    """The data sets of recording i, the height of the plot in pixels, and the classes that are seen, by index."""
    labels, kinds = content["labels"], content["kinds"]
    bars: Rows = []
    areas: Rows = []
    names: Rows = []
    classes: set[int] = set()
    true: set[int] = set()
    top = 0
    tables = [("truth", content["truth"], TRUTH_LANE)]
    tables += [(run, table, LANE) for run, table in zip(content["runs"], content["detections"], strict=True)]
    for what, table, height in tables:
        first, last = table["offset"][i : i + 2]
        best = max((table["score"][j] for j in range(first, last)), default=0) if "score" in table else 1
        for j in range(first, last):
            k, y = table["label"][j], top + height * table["lane"][j]
            classes.add(k)
            start, end = table["start"][j], table["end"][j]
            bar = {"what": what, "class": labels[k], "start": start, "end": end, "x": start}
            bar["x2"] = max(end, start + content["span"][i] / NARROWEST)
            bar |= {"y": y, "y2": y + height - 2, "weight": 1, "right": False}
            if "score" in table:
                score = table["score"][j]
                bar["weight"] = 0.2 + 0.8 * max(score / best, 0) if best > 0 else 0.6
                bar["right"] = table["kind"][j] == 0
                bar |= {
                    "score": score,
                    "own": table["own"][j],
                    "other": table["other"][j],
                    "kind": kinds[table["kind"][j]],
                }
            else:
                true.add(k)
            bars.append(bar)
        count = 1 + max(table["lane"][first:last], default=0)
        names.append({"text": what, "y": top + (height * count - 2) / 2, "y2": 0, "floor": False})
        top += height * count + GAP
    for n, panel in enumerate(content["sequences"].get(str(i), [])):
        floor = top + PANEL
        for k, value in zip(panel["label"], panel["value"], strict=True):
            classes.add(k)
            places = [0, *(np.arange(len(value)) + 0.5).tolist(), len(value)]
            for place, level in zip(places, [value[0], *value, value[-1]], strict=True):
                areas.append({
                    "series": f"{n} {k}", "class": labels[k], "present": k in true, "x": place * panel["stride"],
                    "y": floor - PANEL * level / LEVELS, "y2": floor,
                })  # fmt: skip
        names.append({"text": panel["name"], "y": floor - PANEL / 2, "y2": floor, "floor": True})
        top = floor + GAP
    truth = content["truth"]
    first, last = truth["offset"][i : i + 2]
    bounds = sorted({t for j in range(first, last) for t in (truth["start"][j], truth["end"][j])})
    datasets = {"bars": bars, "areas": areas, "names": names, "bounds": [{"x": t} for t in bounds]}
    return datasets, top, sorted(classes)


def pictured(content: Mapping[str, Any]) -> list[int]:
    """The recordings with a PNG: evenly spaced by name, with truth, and with sequences where any has some."""
    there = [i for i in range(len(content["ids"])) if content["segments"][i]]
    drawn = [i for i in there if str(i) in content["sequences"]]
    pool: Sequence[int] = sorted(drawn or there, key=lambda i: content["ids"][i])
    places = np.unique(np.linspace(0, len(pool) - 1, min(PICTURED, len(pool))).round().astype(int))
    return [pool[place] for place in places.tolist()]
