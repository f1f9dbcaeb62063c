"""The alerts as a rules file of Prometheus, which the chart ships as a PrometheusRule. Called by `monitoring`."""

from __future__ import annotations

from typing import Any, Final

import alerts
import yaml

Object = dict[str, Any]
HEADER: Final = """\
# Alert rules of speechtrain. Shipped as a PrometheusRule by the chart; loadable as a plain rules file too.
# Generated from charts/alerts.py, which says why each is as it is: change it there and run `make dashboards`.
"""
WIDTH: Final = 110


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as it stands, and lists as people indent them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """Nobody reads `*id001`."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", value, style="|" if "\n" in value else None
    )


_Dumper.add_representer(str, _text)


def dump(document: Object) -> str:
    """YAML to be read by people."""
    text: str = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, width=WIDTH, allow_unicode=True
    )
    return text


def rules() -> Object:
    """The rules file as a document."""
    groups = [
        {"name": name, "rules": [_rule(alert) for alert in group]}
        for name, group in alerts.GROUPS.items()
    ]
    return {"groups": groups}


def text() -> str:
    """The rules file."""
    return HEADER + dump(rules())


def _rule(alert: alerts.Alert) -> Object:
    times = {"for": alert.pending, "keep_firing_for": alert.keep}
    return {
        "alert": alert.name,
        "expr": alert.expr,
        **{name: value for name, value in times.items() if value},
        **({"labels": {"severity": alert.severity}} if alert.severity else {}),
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": alert.runbook,
            "dashboard_url": alert.link,
        },
    }
