"""What the panels of all dashboards have in common: selectors, queries, kinds of panel, layout. Used by the dashboards.

A panel is one call; a query is a pair of PromQL and legend.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

from speech_contract.metrics import Metric

Object = dict[str, Any]
Query = tuple[str, str]
RATE: Final = "[$__rate_interval]"
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA: Final = 39  # of Grafana 10.4; later versions migrate it when they load it
COLUMNS: Final = 24
HALF: Final = COLUMNS // 2
TAG: Final = "speechtrain"
HEIGHTS: Final = {"stat": 4}
HEIGHT: Final = 8


def rate(metric: Metric, selector: str = "") -> str:
    """Per second, over the interval that suits scrape interval and zoom."""
    return f"rate({metric.name}{selector}{RATE})"


def increase(metric: Metric, selector: str = "") -> str:
    """How often in the interval between two points."""
    return f"increase({metric.name}{selector}{RATE})"


def quantile(share: float, metric: Metric, selector: str = "") -> str:
    """Of a histogram, in classic buckets or as the native one that some clusters make of them."""
    classic = f"sum by (le) (rate({metric.name}_bucket{selector}{RATE}))"
    return f"histogram_quantile({share}, {classic}) or histogram_quantile({share}, sum({rate(metric, selector)}))"


def panel(kind: str, title: str, about: str, unit: str, width: int, *queries: Query) -> Object:
    """A panel of `width` columns out of 24."""
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "gridPos": {"w": width, "h": HEIGHTS.get(kind, HEIGHT)},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "options": {},
        "targets": [
            {"datasource": SOURCE, "expr": expr, "legendFormat": legend, "refId": chr(65 + index)}
            for index, (expr, legend) in enumerate(queries)
        ],
    }


def stat(
    title: str, about: str, unit: str, expr: str, legend: str = "", *, none: str = "Unknown"
) -> Object:
    """One number of now; `none` where there is none."""
    made = panel("stat", title, about, unit, 6, (expr, legend))
    made["fieldConfig"]["defaults"]["noValue"] = none
    made["targets"][0]["instant"] = True
    made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
    return made


def series(title: str, about: str, unit: str, *queries: Query) -> Object:
    """Lines over time."""
    made = panel("timeseries", title, about, unit, HALF, *queries)
    made["fieldConfig"]["defaults"]["custom"] = {"spanNulls": False, "showPoints": "auto"}
    made["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}}
    return made


def table(title: str, about: str, expr: str, *, none: str, width: int = COLUMNS) -> Object:
    """The labels of the series that there are now, a row each."""
    made = panel("table", title, about, "none", width, (expr, ""))
    made["targets"][0] |= {"instant": True, "format": "table"}
    hidden = {"Time": True, "Value": True}
    made["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    made["fieldConfig"]["defaults"]["noValue"] = none
    return made


def bars(title: str, about: str, unit: str, expr: str, legend: str) -> Object:
    """One bar for each series, of now."""
    made = panel("bargauge", title, about, unit, HALF, (expr, legend))
    made["targets"][0]["instant"] = True
    made["options"] = {
        "reduceOptions": {"calcs": ["lastNotNull"]},
        "orientation": "horizontal",
        "displayMode": "basic",
    }
    return made


def linked(made: Object, field: str, title: str, url: str) -> Object:
    """The same table with a link on each cell of a column."""
    link = {"title": title, "url": url, "targetBlank": False}
    made["fieldConfig"]["overrides"].append({
        "matcher": {"id": "byName", "options": field},
        "properties": [{"id": "links", "value": [link]}],
    })  # fmt: skip
    return made


def placed(panels: Sequence[Object]) -> list[Object]:
    """Number the panels and lay them out in rows, left to right."""
    x = y = height = 0
    for number, each in zip(itertools.count(1), panels, strict=False):
        place = each["gridPos"]
        if x + place["w"] > COLUMNS:
            x, y = 0, y + height
        height = place["h"]
        each |= {"id": number, "gridPos": {"x": x, "y": y, **place}}
        x += place["w"]
    return list(panels)


def datasource() -> Object:
    """The variable that every dashboard begins with: which Prometheus."""
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}  # fmt: skip


def variable(name: str, label: str, query: str, *, many: bool = False) -> Object:
    """A variable whose values the data source knows. `many`: several at once, or all."""
    definition = {"query": query, "refId": name}
    made = {"type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1}
    made |= {"name": name, "label": label, "query": definition, "definition": query}
    if many:  # `.*` and not the list: a job without the label must not be lost
        made |= {"multi": True, "includeAll": True, "allValue": ".*"}
        made["current"] = {"text": ["All"], "value": ["$__all"]}
    return made


def dashboard(name: str, title: str, variables: list[Object], panels: list[Object]) -> Object:
    """A whole dashboard, with links to the others."""
    others = {
        "title": "Speech training", "type": "dashboards", "tags": [TAG], "asDropdown": True,
        "includeVars": False, "keepTime": True, "targetBlank": False,
        "icon": "external link", "tooltip": "", "url": "",
    }  # fmt: skip
    return {
        "uid": f"{TAG}-{name}",
        "title": title,
        "tags": [TAG],
        "schemaVersion": SCHEMA,
        "editable": False,
        "graphTooltip": 1,  # one cross-hair for all panels
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [datasource(), *variables]},
        "annotations": {"list": []},
        "links": [others],
        "panels": placed(panels),
    }
