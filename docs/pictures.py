"""`python docs/pictures.py`: draws each dashboard of the chart as `docs/dashboard-NAME.svg`.

There is no Grafana to draw them, so this does: every panel in its place, with its own queries, asked of a real
Prometheus that holds an hour of what our exporters tell of a made-up fleet (`tests/monitoring`). Colours and axes are
ours; titles, numbers, legends, units and what is said without data are the panels'. Run by hand after a change of
dashboards; `tests/monitoring/test_dashboards.py` says when a picture is old.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

ROOT: Final = Path(__file__).resolve().parent.parent
BOARDS: Final = ROOT / "charts" / "speechtrain" / "files" / "dashboards"
# Pixels of a column and a row of Grafana's grid, and between panels.
UNIT, ROW, GAP = 42.0, 30.0, 6.0
COLUMNS: Final = 24
INKS: Final = (
    "#3274d9", "#e0752d", "#299c46", "#a352cc", "#c4162a", "#8f6b00", "#00868b", "#7c7c7c",
)  # fmt: skip
STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-weight:600}.s{font-size:24px}.d{fill:#6e7781}"
    ".p{fill:#fff;stroke:#d0d7de}.g{stroke:#eaeef2}.l{fill:none;stroke-width:1.5}"
)
SUFFIXES: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
Object = dict[str, Any]
Ask = Callable[..., list[Object]]


class Sheet:
    """One panel: a frame with its title, and room to draw in."""

    def __init__(self, page: Element, panel: Object, top: float) -> None:
        place = panel["gridPos"]
        self.x, self.y = place["x"] * UNIT + GAP, place["y"] * ROW + top
        self.width, self.height = place["w"] * UNIT - GAP, place["h"] * ROW - GAP
        self.unit = panel["fieldConfig"]["defaults"].get("unit", "none")
        self.group = SubElement(page, "g")
        self.shape(
            "rect",
            x=self.x,
            y=self.y,
            width=self.width,
            height=self.height,
            rx=3.0,
            **{"class": "p"},
        )
        self.text(10, 18, panel["title"], "t")

    def shape(self, kind: str, **values: Any) -> None:
        """An element; numbers are rounded to a tenth of a pixel."""
        said = {k: f"{v:.1f}" if isinstance(v, float) else str(v) for k, v in values.items()}
        SubElement(self.group, kind, said)

    def text(self, x: float, y: float, said: str, kind: str = "") -> None:
        """Text at a place of this panel, from its upper left corner."""
        node = SubElement(
            self.group, "text", {"x": f"{self.x + x:.1f}", "y": f"{self.y + y:.1f}", "class": kind}
        )
        node.text = said


def stat(sheet: Sheet, panel: Object, found: list[tuple[str, Object]]) -> None:
    """The newest value, or the name of its series."""
    defaults = panel["fieldConfig"]["defaults"]
    said = defaults.get("noValue", "No data")
    if found:
        name, series = found[0]
        value = float(series["value"][1])
        mapped = {k: v for m in defaults.get("mappings", []) for k, v in m["options"].items()}
        said = mapped.get(f"{value:g}", {}).get("text") or shown(value, sheet.unit)
        said = name if panel["options"].get("textMode") == "name" else said
    sheet.text(10, 66, said, "s")


def table(sheet: Sheet, panel: Object, found: list[tuple[str, Object]]) -> None:
    """A row for each series, a column for each label."""
    if not found:
        sheet.text(10, 44, panel["fieldConfig"]["defaults"].get("noValue", "No data"), "d")
        return
    heads = sorted({label for _, series in found for label in series["metric"]})
    width = (sheet.width - 20) / len(heads)
    for column, head in enumerate(heads):
        sheet.text(10 + column * width, 42, head, "d")
        for row, (_, series) in enumerate(found[:8]):
            sheet.text(10 + column * width, 64 + 20 * row, series["metric"].get(head, ""))


def bargauge(sheet: Sheet, panel: Object, found: list[tuple[str, Object]]) -> None:
    """A bar for each series, the longest as wide as the panel."""
    values = [float(series["value"][1]) for _, series in found]
    most = 1.0 if sheet.unit == "percentunit" else max([*values, 1.0])
    for row, ((name, _), value) in enumerate(zip(found[:7], values, strict=False)):
        y = 40 + 28 * row
        width = max(1.0, (sheet.width - 260) * value / most)
        sheet.text(10, y + 12, name)
        sheet.shape(
            "rect", x=sheet.x + 170, y=sheet.y + y, width=width, height=16.0, fill=INKS[row]
        )
        sheet.text(180 + width, y + 12, shown(value, sheet.unit))


def timeseries(sheet: Sheet, panel: Object, found: list[tuple[str, Object]]) -> None:
    """A line for each series; where a value is no number, or there is none, the line has a gap."""
    points = [[(float(t), float(v)) for t, v in series["values"]] for _, series in found]
    real = [v for line in points for _, v in line if math.isfinite(v)]
    if not real:
        sheet.text(10, 44, "No data", "d")
        return
    low, high = min([*real, 0.0]), max(real)
    high = high if high > low else low + 1.0
    left, bottom, wide, tall = 60.0, sheet.height - 34, sheet.width - 76, sheet.height - 70
    for part in range(4):
        y = sheet.y + bottom - tall * part / 3
        sheet.shape(
            "line", x1=sheet.x + left, x2=sheet.x + left + wide, y1=y, y2=y, **{"class": "g"}
        )
        sheet.text(
            8, bottom - tall * part / 3 + 4, shown(low + (high - low) * part / 3, sheet.unit), "d"
        )
    from scraped_jobs import END, EVERY, START

    for number, line in enumerate(points):
        ink, path, before = INKS[number % len(INKS)], "", -math.inf
        for t, v in line:
            if not math.isfinite(v):
                continue
            x = sheet.x + left + wide * (t - START) / (END - START)
            y = sheet.y + bottom - tall * (v - low) / (high - low)
            path += f"{'L' if t - before <= EVERY else 'M'}{x:.1f} {y:.1f}"
            before = t
        sheet.shape("path", d=path, stroke=ink, **{"class": "l", "stroke-linecap": "round"})
    _legend(sheet, [name for name, _ in found])


def _legend(sheet: Sheet, names: Sequence[str]) -> None:
    x = 12.0
    for number, name in enumerate(names):
        if x + 7 * len(name) > sheet.width - 40:
            sheet.text(x, sheet.height - 10, f"and {len(names) - number} more", "d")
            return
        ink = INKS[number % len(INKS)]
        sheet.shape(
            "rect", x=sheet.x + x, y=sheet.y + sheet.height - 19, width=10.0, height=10.0, fill=ink
        )
        sheet.text(x + 14, sheet.height - 10, name)
        x += 30 + 7 * len(name)


DRAWN: Final = {"stat": stat, "table": table, "bargauge": bargauge, "timeseries": timeseries}


def shown(value: float, unit: str) -> str:
    """A number as people read it in this unit of Grafana's."""
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s" and value >= 60:
        return f"{value / 60:.3g} min"
    if unit == "sci":
        return f"{value:.1e}"
    said = next(
        (f"{value / by:.3g}{sign}" for by, sign in SUFFIXES if abs(value) >= by), f"{value:.3g}"
    )
    ending = {"s": " s", "cps": "/s", "bytes": "B"}.get(
        unit, f" {unit[7:]}" if unit[:7] == "suffix:" else ""
    )
    return f"{said}{ending}"


def asked(panel: Object, ask: Ask, job: str) -> list[tuple[str, Object]]:
    """All series of a panel with their legends."""
    from hour import filled

    found = []
    for target in panel["targets"]:
        instant = target.get("instant", False)
        for series in ask(filled(target["expr"], job), instant=instant):
            found.append((_named(target["legendFormat"], series["metric"]), series))
    return found


def _named(legend: str, labels: Object) -> str:
    for label, value in labels.items():
        legend = legend.replace(f"{{{{{label}}}}}", value)
    return legend


def picture(board: Object, ask: Ask, job: str) -> str:
    """One dashboard as SVG."""
    rows = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in board["panels"])
    width, height, top = COLUMNS * UNIT + GAP, rows * ROW + 44, 38.0
    page = Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        role="img",
    )
    SubElement(page, "title").text = board["title"]
    SubElement(page, "style").text = STYLE
    SubElement(page, "rect", width="100%", height="100%", fill="#f6f8fa")
    SubElement(page, "text", {"x": "10", "y": "24", "class": "t"}).text = board["title"]
    for panel in board["panels"]:
        sheet = Sheet(page, panel, top)
        DRAWN[panel["type"]](sheet, panel, asked(panel, ask, job))
    indent(page, "")
    return tostring(page, encoding="unicode") + "\n"


def main() -> None:
    """Draw all of them."""
    sys.path += [str(ROOT / "tests" / "monitoring"), str(ROOT / "tests" / "cluster")]
    from hour import served
    from scraped_jobs import CODEC

    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as ask:
        for path in sorted(BOARDS.glob("*.json")):
            board = json.loads(path.read_text("utf-8"))
            out = ROOT / "docs" / f"dashboard-{path.stem}.svg"
            out.write_text(picture(board, ask, CODEC), "utf-8")


if __name__ == "__main__":
    main()
