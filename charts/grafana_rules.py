"""The alerts as a provisioning file of Grafana: the same conditions, for who alerts there. Called by `monitoring`.

Choices, none of which Prometheus has:
    reduce      `replaceNN` with 1. Grafana drops or ignores a NaN by default; here a series is a fault, whatever its
                value. The expressions give 1 and never a NaN; this holds for who changes one.
    noDataState `OK`. No series is what a sound fleet answers: a rule asks for faults. That there is nobody to tell
                of faults is a fault of its own (SpeechOperatorDown, SpeechTrainingTelemetryMissing), with a series.
    execErrState `KeepLast` for all: an unreachable Prometheus must neither end a page nor raise one for each rule.
                `Error` for SpeechOperatorDown alone: so that one page says that nobody is watching.
"""

from __future__ import annotations

from typing import Any, Final

import alerts
from prometheus_rules import dump

Object = dict[str, Any]
HEADER: Final = """\
# Alert rules of speechtrain for Grafana's own alerting: a file for its folder `provisioning/alerting`, or for its
# sidecar. Generated from charts/alerts.py; charts/grafana_rules.py says why states and reducers are as they are.
# Change it there and run `make dashboards`. Use these or the PrometheusRule: both together page twice.
"""
DATASOURCE: Final = "prometheus"  # the chart puts the uid of yours here
FOLDER: Final = "Speech training"
INTERVAL: Final = "1m"
RANGE: Final = {"from": 600, "to": 0}
WATCHDOG: Final = "SpeechOperatorDown"


def _query(alert: alerts.Alert) -> Object:
    model = {"refId": "A", "expr": alert.expr, "instant": True, "range": False}
    return {"refId": "A", "datasourceUid": DATASOURCE, "relativeTimeRange": RANGE, "model": model}


def _step(ref: str, kind: str, source: str, **settings: Any) -> Object:
    """A step of Grafana's own on the result before it."""
    expressions = {"type": "__expr__", "uid": "__expr__"}
    model = {
        "refId": ref,
        "type": kind,
        "expression": source,
        "datasource": expressions,
        **settings,
    }
    return {"refId": ref, "datasourceUid": "__expr__", "relativeTimeRange": RANGE, "model": model}


def _rule(alert: alerts.Alert, panels: Object) -> Object:
    reduced = _step("B", "reduce", "A", reducer="last",
                    settings={"mode": "replaceNN", "replaceWithValue": 1})  # fmt: skip
    above = {"evaluator": {"type": "gt", "params": [0]}}
    rule: Object = {
        "uid": _uid(alert.name),
        "title": alert.name,
        "condition": "C",
        "data": [_query(alert), reduced, _step("C", "threshold", "B", conditions=[above])],
        "noDataState": "OK",
        "execErrState": "Error" if alert.name == WATCHDOG else "KeepLast",
        "for": alert.pending or "0s",
    }
    if alert.keep:
        rule["keepFiringFor"] = alert.keep
    if alert.severity:
        rule["labels"] = {"severity": alert.severity}
    rule["annotations"] = {
        "summary": alert.summary,
        "description": alert.description,
        "runbook_url": alert.runbook,
        "dashboard_url": alert.link,
        "__dashboardUid__": f"speechtrain-{alert.dashboard}",
        "__panelId__": str(panels[alert.dashboard][alert.panel]),
    }
    return rule


def _uid(name: str) -> str:
    """At most 40 of letters, digits, - and _: what Grafana takes."""
    return name.lower()


def rules(boards: dict[str, Object]) -> Object:
    """The provisioning file as a document. `boards`: the dashboards by name, whose panels the rules are tied to."""
    panels = {
        name: {panel["title"]: panel["id"] for panel in board["panels"]}
        for name, board in boards.items()
    }
    groups = [
        {
            "orgId": 1,
            "name": name,
            "folder": FOLDER,
            "interval": INTERVAL,
            "rules": [_rule(alert, panels) for alert in group],
        }
        for name, group in alerts.GROUPS.items()
    ]
    return {"apiVersion": 1, "groups": groups}


def text(boards: dict[str, Object]) -> str:
    """The provisioning file."""
    return HEADER + dump(rules(boards))
