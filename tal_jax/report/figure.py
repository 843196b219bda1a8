"""A figure: one specification that the page draws, a PNG shows and a CSV file backs."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tal_jax.data.csv_cells import cell
from tal_jax.errors import InputError
from tal_jax.plots.colours import COLOURS
from tal_jax.report.rows import Rows

if TYPE_CHECKING:
    import altair

DATA = "rows"  # name of the data set in every specification
CHOICE = "choice"  # name of the parameter that a figure's menu sets
RUN_COLOURS = COLOURS[:4]
FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
PNG_SCALE = 2
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
CONFIG = {
    "font": FONT,
    "background": "white",
    "view": {"stroke": None},
    "axis": {"labelColor": "#404040", "titleColor": "#404040", "titleFontWeight": "normal", "gridColor": "#E8E8E8",
             "domainColor": "#A0A0A0", "tickColor": "#A0A0A0", "labelFontSize": 11, "titleFontSize": 12},
    "legend": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "labelLimit": 320},
    "header": {"labelFontSize": 12, "labelColor": "#404040", "titleFontWeight": "normal", "labelLimit": 400},
}  # fmt: skip


@dataclass(frozen=True)
class Menu:
    """A choice that a figure offers; its rows have a column that is compared with it."""

    label: str
    options: tuple[str, ...]
    value: str  # the first choice, also that of the PNG


@dataclass(frozen=True, eq=False)
class Figure:
    """One figure of the page."""

    name: str  # of its files
    section: str  # id of the section it belongs to
    title: str
    text: str  # what it shows, in a sentence
    spec: dict[str, Any]  # Vega-Lite, without data
    rows: Rows
    menu: Menu | None = None
    shown: Rows | None = None  # what is drawn, where that is not everything
    wide: bool = False  # takes the whole width of the page

    @property
    def drawable(self) -> dict[str, Any]:
        """The specification with its data."""
        return {**self.spec, "datasets": {DATA: self.rows if self.shown is None else self.shown}}

    def csv(self) -> str:
        """All rows, a line each, beneath the names of the columns; no cell is a formula."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        columns = list(self.rows[0]) if self.rows else []
        writer.writerows([map(cell, columns), *(map(cell, map(row.__getitem__, columns)) for row in self.rows)])
        return text.getvalue()

    def png(self) -> bytes:
        """The picture."""
        return render(self.drawable)


def specification(chart: "altair.TopLevelMixin") -> dict[str, Any]:
    """The chart as Vega-Lite with the look of the report; its data are still to come."""
    return {**chart.to_dict(), "config": CONFIG, "autosize": {"type": "pad"}}


def require_libraries() -> None:
    """Raises InputError, with the extra that brings them, where the plotting libraries are missing."""
    try:
        import altair  # noqa: F401
        import jinja2  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError as e:
        raise InputError('reports need Altair, vl-convert and Jinja2: pip install "tal_jax[report]"') from e


def render(spec: dict[str, Any]) -> bytes:
    """A specification with data as PNG; no browser is needed, nothing is fetched."""
    import vl_convert

    shown = _in_xml(spec)
    return vl_convert.vegalite_to_png(shown, vl_version=vega_lite_version(), scale=PNG_SCALE, allowed_base_urls=[])


def _in_xml(value: Any) -> Any:
    """Nested values whose text may stand in a picture's XML: vl-convert ends the whole process at any other."""
    if isinstance(value, str):
        return NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {_in_xml(key): _in_xml(inner) for key, inner in value.items()}
    return [_in_xml(inner) for inner in value] if isinstance(value, list | tuple) else value


def vega_lite_version() -> str:
    """The newest Vega-Lite that vl-convert has of the kind that Altair writes."""
    import altair
    import vl_convert

    major = altair.SCHEMA_VERSION.removeprefix("v").split(".")[0]
    versions: Sequence[str] = [v for v in vl_convert.get_vegalite_versions() if v.split(".")[0] == major]
    if not versions:
        raise InputError(f"vl-convert has no Vega-Lite {major}, which Altair writes: pip install -U vl-convert-python")
    return max(versions, key=lambda v: [int(x) for x in v.split(".")])
