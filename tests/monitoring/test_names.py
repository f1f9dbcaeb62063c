"""Rules and dashboards name what the catalogue has: metrics, labels, rules, states."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import yaml
from product.chart import CHART

from speech_contract import metrics as catalogue
from speech_contract.metrics import Kind, Metric
from speech_contract.progress import Rule, Severity
from speech_contract.reasons import State

RULES = CHART / "files" / "speechtrain.rules.yaml"
GRAFANA = CHART / "files" / "grafana-alerts.yaml"
FOLDER = CHART / "files" / "dashboards"
ALL: tuple[Metric, ...] = (*catalogue.TRAINING_METRICS, *catalogue.OPERATOR_METRICS)
TARGET_LABELS = {*catalogue.JOB, "pod"}  # of the scrape, on every series
WORDS = {"rule": Rule, "severity": Severity, "state": State}


def series(metric: Metric) -> list[str]:
    if metric.kind is Kind.HISTOGRAM:
        # the bare name: as a cluster keeps it that makes native histograms of classic ones
        return [f"{metric.name}{end}" for end in ("_bucket", "_count", "_sum", "")]
    return [metric.name]


LABELS = {
    name: {*metric.labels, *TARGET_LABELS, *({"le"} if metric.kind is Kind.HISTOGRAM else ())}
    for metric in ALL
    for name in series(metric)
}


def queries() -> Iterator[str]:
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for path in FOLDER.glob("*.json"):
        dashboard = json.loads(path.read_text("utf-8"))
        yield from (t["expr"] for panel in dashboard["panels"] for t in panel["targets"])
        yield from (v["query"]["query"] for v in dashboard["templating"]["list"][1:])
    for group in yaml.safe_load(GRAFANA.read_text("utf-8"))["groups"]:
        yield from (rule["data"][0]["model"]["expr"] for rule in group["rules"])


QUERIES = sorted(set(queries()))


@pytest.mark.parametrize("query", QUERIES)
def test_metrics_and_labels_are_of_the_catalogue(query: str) -> None:
    names = re.findall(r"speech_(?:training|operator)_\w+", query)
    assert names
    assert set(names) <= LABELS.keys()
    for name, matchers in re.findall(r"(speech_\w+)\{([^}]*)\}", query):
        assert set(re.findall(r"(\w+)(?:=~?|!=|!~)\"", matchers)) <= LABELS[name], name
    known = set().union(*LABELS.values())
    for grouping in re.findall(r"\b(?:by|on) \(([^)]*)\)", query):
        assert set(grouping.split(", ")) <= known


@pytest.mark.parametrize("query", QUERIES)
def test_values_of_labels_are_words_of_the_contract(query: str) -> None:
    for label, values in re.findall(r"\b(rule|severity|state)(?:=~?|!=|!~)\"([^\"]*)\"", query):
        assert set(values.split("|")) <= {word.value for word in WORDS[label]}


def test_every_counter_ends_as_counters_do() -> None:
    for metric in ALL:
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name


# Read by rules or by people, and shown by what stands beside them.
NOT_SHOWN = {
    catalogue.LOSS_FINITE: "the steps by kind say more: this one is 0 at a scaler's overflow too"
}


def test_every_metric_is_on_a_dashboard() -> None:
    boards = "".join(path.read_text("utf-8") for path in FOLDER.glob("*.json"))
    shown = {metric for metric in ALL if re.search(rf"\b{metric.name}(_bucket)?\b", boards)}
    assert set(ALL) - shown == NOT_SHOWN.keys()
