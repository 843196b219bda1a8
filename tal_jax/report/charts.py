"""The figures of results: mAP, recall, precision, calibration, classes."""

from collections.abc import Sequence

import altair as alt

from tal_jax.evaluation.text_table import threshold_name
from tal_jax.report import rows
from tal_jax.report.analysis import Analysis
from tal_jax.report.figure import CHOICE, DATA, RUN_COLOURS, Figure, Menu, specification

WIDTH, HEIGHT = 460, 270
CLASS_STEP = 16  # pixels of a line of the classes' figure
PERCENT = alt.Scale(domain=[0, 100])


def data() -> alt.NamedData:
    """The figure's own rows."""
    return alt.NamedData(name=DATA)


def colour(names: Sequence[str], title: str | None = None) -> alt.Color:
    """One colour for each run; no legend where there is one."""
    legend = alt.Legend(title=title, orient="top", columns=2) if len(names) > 1 else None
    return alt.Color("run:N", scale=alt.Scale(domain=list(names), range=list(RUN_COLOURS)), legend=legend)


def chosen(chart: alt.Chart, value: str, column: str = "tiou") -> alt.Chart:
    """The chart of the rows that the figure's menu selects."""
    return chart.add_params(alt.param(name=CHOICE, value=value)).transform_filter(f"datum.{column} === {CHOICE}")


def threshold_menu(run: Analysis, average: bool) -> Menu:
    """All thresholds; their average first, where that makes sense."""
    names = tuple(threshold_name(t) for t in run.matching.tiou)
    if average:
        return Menu("tIoU", (rows.AVERAGE, *names), rows.AVERAGE)
    return Menu("tIoU", names, names[run.main])


def result_figures(runs: Sequence[Analysis]) -> list[Figure]:
    """Everything but the diagnosis."""
    names = [run.name for run in runs]
    base = {"width": WIDTH, "height": HEIGHT}
    averaged, single = threshold_menu(runs[0], True), threshold_menu(runs[0], False)
    line = alt.Chart(data()).mark_line(point=True, strokeWidth=2)
    mean_precision = line.encode(
        x=alt.X("tiou:Q", title="tIoU", scale=alt.Scale(zero=False, nice=False, padding=8)),
        y=alt.Y("map:Q", title="mAP (%)", scale=PERCENT),
        color=colour(names),
        tooltip=[
            alt.Tooltip("run:N"),
            alt.Tooltip("tiou:Q", title="tIoU"),
            alt.Tooltip("map:Q", title="mAP %", format=".1f"),
        ],
    ).properties(**base)
    recall = (
        alt.Chart(data())
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("proposals:Q", title="average number of proposals per recording"),
            y=alt.Y("recall:Q", title="recall (%)", scale=PERCENT),
            color=colour(names),
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("proposals:Q"),
                alt.Tooltip("recall:Q", title="recall %", format=".1f"),
            ],
        )
        .properties(**base)
    )
    curve = (
        alt.Chart(data())
        .mark_line(strokeWidth=2, interpolate="step-before")
        .encode(
            x=alt.X("recall:Q", title="recall (%)", scale=PERCENT),
            y=alt.Y("precision:Q", title="precision (%)", scale=PERCENT),
            color=colour(names),
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("recall:Q", title="recall %", format=".0f"),
                alt.Tooltip("precision:Q", title="precision %", format=".1f"),
            ],
        )
        .properties(**base)
    )
    return [
        Figure(
            "map", "curves", "mAP by threshold",
            "Mean average precision over the classes, by how much a detection must overlap with the truth to count.",
            specification(mean_precision), rows.mean_precision(runs),
        ),
        Figure(
            "recall", "curves", "AR@AN",
            "Share of the true segments that the best detections find, whatever their class, when so many of them are "
            "allowed per recording; the average over all tIoU thresholds is AR@AN.",
            specification(chosen(recall, averaged.value)), rows.recall(runs), averaged,
        ),
        Figure(
            "precision_recall", "curves", "Precision and recall",
            "How many of the detections are right when so many of the true segments are found; mean over classes, "
            "precision interpolated as for mAP, so that the area beneath is the mAP.",
            specification(chosen(curve, single.value)), rows.precision_recall(runs), single,
        ),
        _calibration(runs, single),
        _classes(runs, averaged),
    ]  # fmt: skip


def _calibration(runs: Sequence[Analysis], menu: Menu) -> Figure:
    probabilities = all(run.calibration.error is not None for run in runs)
    x = alt.X("score:Q", title="mean score of the detections in a bin", scale=alt.Scale(zero=False))
    if probabilities:
        x = alt.X("score:Q", title="mean score of the detections in a bin", scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("precision:Q", title="true positives (%)", scale=PERCENT)
    base = chosen(alt.Chart(data()), menu.value)
    colours = colour([run.name for run in runs])
    points = base.mark_circle(opacity=0.9).encode(
        x=x,
        y=y,
        color=colours,
        size=alt.Size("detections:Q", scale=alt.Scale(range=[25, 350]), legend=None),
        tooltip=[
            alt.Tooltip("run:N"),
            alt.Tooltip("low:Q", title="score from", format=".3~f"),
            alt.Tooltip("high:Q", title="score to", format=".3~f"),
            alt.Tooltip("detections:Q", format=",d"),
            alt.Tooltip("precision:Q", title="true positives %", format=".1f"),
        ],
    )
    # The second layer must not declare the parameter again.
    plain = alt.Chart(data()).transform_filter(f"datum.tiou === {CHOICE}")
    layers: list[alt.Chart] = [plain.mark_line(strokeWidth=1.5, opacity=0.6).encode(x=x, y=y, color=colours), points]
    text = (
        "Of the detections with about the same score (15 bins, larger circles hold more), how many are true positives."
    )
    if probabilities:
        ends = alt.Data(values=[{"score": 0, "precision": 0}, {"score": 1, "precision": 100}])
        layers.insert(0, alt.Chart(ends).mark_line(color="#909090", strokeDash=[5, 4], strokeWidth=1).encode(x=x, y=y))
        text += " On the dashed line, scores are probabilities."
    else:
        text += " Scores are not within 0 and 1: they rank, but promise no probability."
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    return Figure("calibration", "curves", "Calibration", text, specification(chart), rows.calibration(runs), menu)


def _classes(runs: Sequence[Analysis], menu: Menu) -> Figure:
    content = rows.classes(runs)
    order = list(dict.fromkeys(row["class"] for row in content))
    base = alt.Chart(data())
    y = alt.Y("class:N", sort=order, title=None, axis=alt.Axis(labelLimit=260))
    x = alt.X("ap:Q", title="AP (%)", scale=PERCENT, axis=alt.Axis(orient="top", tickCount=10))
    tooltip = [
        alt.Tooltip("class:N"),
        alt.Tooltip("run:N"),
        alt.Tooltip("tiou:N", title="tIoU"),
        alt.Tooltip("ap:Q", title="AP %", format=".1f"),
    ]
    colours = colour([run.name for run in runs])
    if len(runs) == 1:
        bars = base.mark_bar(height=CLASS_STEP - 5).encode(x=x, y=y, color=colours, tooltip=tooltip)
        chart = chosen(bars, menu.value)
    else:
        chart = chosen(
            base.mark_circle(size=70, opacity=1).encode(x=x, y=y, color=colours, tooltip=tooltip), menu.value
        )
    return Figure(
        "classes", "classes", "AP by class", "Average precision of every class, the first run's best class on top.",
        specification(chart.properties(width=640, height={"step": CLASS_STEP})), content, menu, wide=True,
    )  # fmt: skip
