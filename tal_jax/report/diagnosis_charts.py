"""The figures of the error diagnosis, after DETAD, and of trainings."""

import re
from collections.abc import Sequence

import altair as alt

from tal_jax.evaluation.diagnosis import KINDS, MULTIPLES
from tal_jax.evaluation.sensitivity import CHARACTERISTICS
from tal_jax.report import rows
from tal_jax.report.analysis import Analysis
from tal_jax.report.charts import HEIGHT, WIDTH, chosen, colour, data, threshold_menu
from tal_jax.report.figure import CHOICE, Figure, specification
from tal_jax.report.inputs import Material

KIND_COLOURS = ("#009E73", "#56B4E9", "#CC79A7", "#E69F00", "#D55E00", "#A8A8A8")
CHARACTERISTIC_TITLES = {
    "coverage": "share of the recording",
    "length": "length of the segment",
    "instances": "segments of the class in the recording",
}


def diagnosis_figures(runs: Sequence[Analysis]) -> list[Figure]:
    """Which false positives there are, what they cost, and which segments are hard."""
    return [_profile(runs), _cost(runs), _sensitivity(runs)]


def _profile(runs: Sequence[Analysis]) -> Figure:
    menu = threshold_menu(runs[0], False)
    bars = (
        alt.Chart(data())
        .mark_bar()
        .encode(
            x=alt.X("rank:O", sort=[f"{m + 1} G" for m in range(MULTIPLES)], title="best detections of a class, up to",
                    axis=alt.Axis(labelAngle=0)),
            y=alt.Y("share:Q", title="share of the detections (%)", scale=alt.Scale(domain=[0, 100])),
            color=alt.Color("kind:N", scale=alt.Scale(domain=list(KINDS), range=list(KIND_COLOURS)),
                            legend=alt.Legend(title=None, orient="bottom", columns=6 if len(runs) > 1 else 3)),
            order=alt.Order("order:Q"),
            tooltip=[alt.Tooltip("run:N"), alt.Tooltip("rank:N"), alt.Tooltip("kind:N"),
                     alt.Tooltip("detections:Q", format=",d"), alt.Tooltip("share:Q", title="share %", format=".1f")],
        )
    )  # fmt: skip
    chart: alt.Chart | alt.FacetChart = chosen(bars, menu.value).properties(width=WIDTH, height=HEIGHT)
    if len(runs) > 1:
        facet = alt.Facet("run:N", title=None, sort=[run.name for run in runs])
        chart = chosen(bars, menu.value).properties(width=WIDTH, height=HEIGHT).facet(facet, columns=2)
    return Figure(
        "error_profile", "diagnosis", "What the detections are",
        "Of a class with G true segments, the best G detections stand left, the tenth G right; the colours are their "
        "kinds, as listed above.",
        specification(chart), rows.profile(runs), menu, wide=len(runs) > 1,
    )  # fmt: skip


def _cost(runs: Sequence[Analysis]) -> Figure:
    menu = threshold_menu(runs[0], True)
    names = [run.name for run in runs]
    bars = (
        alt.Chart(data())
        .mark_bar()
        .encode(
            y=alt.Y("kind:N", sort=list(KINDS[1:]), title=None, axis=alt.Axis(labelLimit=160)),
            x=alt.X(
                "cost:Q", title="mAP without these errors, minus mAP (percentage points)", axis=alt.Axis(tickCount=6)
            ),
            color=colour(names),
            yOffset=alt.YOffset("run:N", sort=names),
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("kind:N"),
                alt.Tooltip("tiou:N", title="tIoU"),
                alt.Tooltip("cost:Q", title="points of mAP", format=".2f"),
            ],
        )
        .properties(width=WIDTH, height=HEIGHT)
    )
    return Figure(
        "error_cost", "diagnosis", "What the errors cost",
        "By how much the mAP would rise if all false positives of one kind were gone.",
        specification(chosen(bars, menu.value)), rows.cost(runs), menu,
    )  # fmt: skip


def _sensitivity(runs: Sequence[Analysis]) -> Figure:
    menu = threshold_menu(runs[0], True)
    names = [run.name for run in runs]
    content = rows.sensitivity(runs)
    order = list(dict.fromkeys(row["range"] for row in content))
    there = {row["characteristic"] for row in content}
    parts = []
    for i, name in enumerate(c for c in CHARACTERISTICS if c in there):
        base = alt.Chart(data()).transform_filter(f"datum.characteristic === '{name}' && datum.tiou === {CHOICE}")
        x = alt.X(
            "range:O", sort=order, title=CHARACTERISTIC_TITLES[name], axis=alt.Axis(labelAngle=-30, labelLimit=90)
        )
        y = alt.Y("map_n:Q", title="mAP_N (%)" if i == 0 else None, scale=alt.Scale(domain=[0, 100]))
        bars = base.mark_bar().encode(
            x=x,
            y=y,
            color=colour(names),
            xOffset=alt.XOffset("run:N", sort=names),
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("range:N"),
                alt.Tooltip("segments:Q", format=",d"),
                alt.Tooltip("map_n:Q", title="mAP_N %", format=".1f"),
                alt.Tooltip("missed:Q", title="never found %", format=".1f"),
            ],
        )
        level = base.mark_rule(strokeDash=[5, 4], strokeWidth=1.2).encode(y="mean(overall):Q", color=colour(names))
        parts.append(alt.layer(bars, level).properties(width=300, height=HEIGHT - 40))
    chart = alt.hconcat(*parts).add_params(alt.param(name=CHOICE, value=menu.value))
    unknown = runs[0].sensitivity.unknown
    text = (
        "mAP among the segments of a range, with precision normalised so that ranges and classes of different size "
        "compare (mAP_N); dashed: of all segments. Ranges hold about a fifth of the segments each."
    )
    if unknown:
        text += f" {unknown} segments lie in recordings whose duration the annotations do not give: no share of it."
    return Figure(
        "sensitivity", "diagnosis", "Which segments are hard", text, specification(chart), content, menu, wide=True
    )


def training_figures(materials: Sequence[Material]) -> list[Figure]:
    """A figure for every stage: a panel for every logged number, over the steps."""
    names = [m.name for m in materials]
    figures = []
    for n, stage in enumerate(dict.fromkeys(p.stage for m in materials for p in m.history)):
        name = stage if re.fullmatch(r"[\w-]+", stage, re.ASCII) else str(n + 1)  # part of a file's name
        content = rows.history(materials, stage)
        shown = rows.thinned(content)
        order = list(dict.fromkeys(row["metric"] for row in content))
        chart = (
            alt.Chart(data())
            .mark_line(strokeWidth=1.5, point=alt.OverlayMarkDef(size=12))
            .encode(
                x=alt.X("step:Q", title="step", axis=alt.Axis(tickCount=6)),
                y=alt.Y(
                    "value:Q",
                    title=None,
                    scale=alt.Scale(zero=False),
                    axis=alt.Axis(minExtent=44, maxExtent=44, format=".4~g"),
                ),
                color=colour(names),
                tooltip=["run:N", "metric:N", "step:Q", alt.Tooltip("value:Q", format=".4~g")],
            )
            .properties(width=300, height=130)
            .facet(alt.Facet("metric:N", title=None, sort=order), columns=3)
            .resolve_scale(y="independent", x="shared")
            .resolve_axis(x="independent")
        )
        text = "Every number that the training of this stage logged, by step; gaps are numbers that were not finite."
        if len(shown) < len(content):
            text += f" At most {rows.POINTS} points of a curve are drawn; the CSV file holds all."
        figures.append(
            Figure(f"training_{name}", "training", f"Training of {stage}", text, specification(chart), content,
                   shown=shown, wide=True)
        )  # fmt: skip
    return figures
