"""Puts the page together and writes it, with a PNG and a CSV file of every figure."""

import base64
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from tal_jax.data import atomic
from tal_jax.data.annotations import Recording
from tal_jax.errors import InputError
from tal_jax.evaluation import table
from tal_jax.plots.fonts import note, say_missing, undrawable
from tal_jax.report import browser, tables
from tal_jax.report.analysis import Analysis
from tal_jax.report.figure import DATA, Figure, render, require_libraries, vega_lite_version
from tal_jax.report.inputs import Material

PAGE, FIGURES = "index.html", "figures"
SCRIPTS = ("tooltip.js", "charts.js", "tables.js", "timeline.js", "browser.js", "main.js")
RUNS = 4  # as many as have a colour
SHOWN, MANY = 20, 2000  # a page of many recordings is to open as quickly as one of few


@dataclass(frozen=True, eq=False)
class Report:
    """A page, and what its files are made of."""

    html: str
    figures: tuple[Figure, ...]
    content: Mapping[str, Any]  # of the browser over recordings
    timeline: Mapping[str, Any]  # specification of a recording's time line


def compose(
    runs: Sequence[Analysis],
    recordings: Mapping[str, Recording],
    materials: Sequence[Material] = (),
    *,
    title: str,
    shown: int | None = None,
) -> Report:
    """The page as text, without any file.

    Args:
      runs: the analyses to compare, of the same recordings and thresholds; at most RUNS.
      recordings: the annotated recordings by id, as `annotations.read` returns them.
      materials: what workdirs add, at most RUNS of them.
      title: the title of the page.
      shown: the most detections of each recording in the browser; None: SHOWN, of many recordings half as many.

    Raises:
      InputError: too many runs, two of one name, or libraries that are missing.
    """
    require_libraries()
    from tal_jax.report import timeline
    from tal_jax.report.charts import result_figures
    from tal_jax.report.diagnosis_charts import diagnosis_figures, training_figures

    for flag, names in (("--detections", [run.name for run in runs]), ("--workdir", [m.name for m in materials])):
        if len(names) > RUNS or len(set(names)) < len(names):
            raise InputError(f"{flag}: at most {RUNS} of different names in one page, not {', '.join(names)}")
    figures = (*result_figures(runs), *diagnosis_figures(runs), *training_figures(materials))
    shown = shown or (SHOWN if len(runs[0].selection.recordings) <= MANY else SHOWN // 2)
    content = browser.browser(runs, recordings, materials, shown)
    spec = timeline.template()
    return Report(page(runs, figures, content, spec, title), figures, content, spec)


def write_report(out: str | Path, report: Report) -> Path:
    """Writes OUT/index.html, which needs nothing else, and OUT/figures/NAME.png and NAME.csv.

    Args:
      out: the folder to write to, which is made if need be.
      report: the report that `compose` returned.

    Returns:
      The path of the page.

    Raises:
      InputError: a folder that cannot be written.
    """
    from tal_jax.report import timeline

    files: dict[str, bytes] = {}
    for figure in report.figures:
        files[f"{figure.name}.csv"] = figure.csv().encode()
        files[f"{figure.name}.png"] = figure.png()
    content = report.content
    for name, rows in (("recordings", browser.recording_rows(content)), ("segments", browser.segment_rows(content))):
        files[f"{name}.csv"] = Figure(name, "", "", "", {}, rows).csv().encode()
    for n, i in enumerate(timeline.pictured(content)):
        files[f"recording_{n + 1}.png"] = render(timeline.filled(report.timeline, content, i))
    path = _write(Path(out), report.html, files)
    names = (*content["labels"], *content["runs"], *(content["ids"][i] for i in timeline.pictured(content)))
    say_missing(path.parent / FIGURES, note(undrawable(names)))
    return path


def page(
    runs: Sequence[Analysis], figures: Sequence[Figure], content: Mapping[str, Any], spec: Mapping[str, Any], title: str
) -> str:
    """The whole page as text: the template with everything that it needs within it.

    Scripts are allowed by their hashes alone, nothing is fetched, and all text of others is escaped: it comes into the
    page by Jinja2's escaping, or as JSON without "<" that the scripts turn into text nodes.
    """
    import jinja2

    static = resources.files("tal_jax.report") / "static"
    scripts = [_library(), *((static / name).read_text(encoding="utf-8") for name in SCRIPTS)]
    style = (static / "page.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals["data"] = embedded
    template = environment.from_string((static / "page.html").read_text(encoding="utf-8"))
    specs = {
        figure.name: {
            "spec": figure.drawable,
            "csv": None if figure.shown is None else figure.csv(),
            "menu": figure.menu and {"options": figure.menu.options, "value": figure.menu.value},
        }
        for figure in figures
    }
    return template.render(
        title=title,
        policy=policy(scripts),
        style=_inline(style),
        scripts=[_inline(script) for script in scripts],
        figures=figures,
        specs=specs,
        content=content,
        timeline=spec,
        rows_name=DATA,
        precision=tables.precision_table(runs),
        recall=tables.recall_table(runs),
        classes=tables.class_table(runs),
        kinds=tables.kind_table(runs),
        kind_notes=tables.kind_notes(runs),
        accounts=[(run.name, table.account(run.selection)) for run in runs],
    )


def embedded(value: Any) -> Any:
    """A value as JSON for a data block of the page: no "<" can end the block or begin anything else."""
    import markupsafe

    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return markupsafe.Markup(text.replace("<", "\\u003c"))


def policy(scripts: Iterable[str]) -> str:
    """The Content-Security-Policy: the page's own scripts, known by their hashes; styles; no connection to anywhere."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )


@functools.cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    import vl_convert

    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=vega_lite_version())
    # Within a function, its thousands of names stay its own. A browser that reads a page knows one end of a line.
    return "\n".join(["(() => {", *script.splitlines(), "})();"])


def _inline(script: str) -> Any:
    """A script or style of the project or of vl-convert, as it is.

    Raises:
      ValueError: it holds what would end its element.
    """
    import markupsafe

    if any(mark in script.lower() for mark in ("</script", "<script", "</style", "<!--")):
        raise ValueError("what holds </script, <script, </style or <!-- cannot stand within a page")
    return markupsafe.Markup(script)


def check_out(out: str | Path) -> bool:
    """Whether a folder holds an earlier report, which may be replaced.

    Raises:
      InputError: it holds a page that is none of ours.
    """
    try:
        with (Path(out) / PAGE).open("rb") as file:
            ours = b"Content-Security-Policy" in file.read(1000)
    except OSError:
        return False
    if not ours:
        raise InputError(f"--out={out}: holds an {PAGE} that is no report: name another folder")
    return True


def _write(out: Path, html: str, files: Mapping[str, bytes]) -> Path:
    """Figures first, the page last; figures of an earlier report that this one does not have go."""
    try:
        earlier = check_out(out)
        (out / FIGURES).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            atomic.write(out / FIGURES / name, data)
        atomic.write(out / PAGE, html.encode())
        for path in (out / FIGURES).iterdir() if earlier else ():
            if path.suffix in (".png", ".csv") and path.name not in files:
                path.unlink()
    except (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as e:
        raise InputError(f"--out={out}: cannot be written ({e.strerror}): name a folder") from e
    return out / PAGE
