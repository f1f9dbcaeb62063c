"""What Grafana reads, against the types that its makers publish; and its alert rules beside those of Prometheus.

The types are those of its HTTP API. No Grafana runs here: that it takes the files is inferred from them.
"""

from __future__ import annotations

import json
import re
import typing
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.alerting import Rule
from product.chart import CHART

with warnings.catch_warnings():  # of the shape that Grafana 12 added; it reads this one as well
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.models.dashboard import Dashboard

Object = dict[str, Any]
FILES = CHART / "files"
BOARDS = sorted((FILES / "dashboards").glob("*.json"))
# A provisioning file has the first name where the API has the second.
API_NAMES = {"keepFiringFor": "keep_firing_for"}

plugins.register_default_plugins()


def lost(sent: Any, read: Any, place: str = "") -> Iterator[str]:
    """What Grafana's type did not take up of a document, or took up as something else."""
    if isinstance(sent, dict) and isinstance(read, dict):
        for key, value in sent.items():
            yield from lost(value, read.get(key), f"{place}.{key}")
    elif isinstance(sent, list) and isinstance(read, list) and len(sent) == len(read):
        for number, (value, other) in enumerate(zip(sent, read, strict=True)):
            yield from lost(value, other, f"{place}[{number}]")
    elif sent != read:
        yield f"{place}: {sent!r} is read as {read!r}"


def as_read(kind: type[Any], document: Object) -> Any:
    return json.loads(json.dumps(kind.from_json(document), cls=JSONEncoder))


@pytest.fixture(scope="module")
def groups() -> list[Object]:
    document = yaml.safe_load((FILES / "grafana-alerts.yaml").read_text("utf-8"))
    assert document["apiVersion"] == 1
    found: list[Object] = document["groups"]
    return found


@pytest.fixture(scope="module")
def provisioned(groups: list[Object]) -> list[Object]:
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_grafana_s_type_reads_all_of_a_dashboard(path: Any) -> None:
    board = json.loads(path.read_text("utf-8"))
    assert list(lost(board, as_read(Dashboard, board))) == []
    board["panels"][0]["invented"] = 1
    assert list(lost(board, as_read(Dashboard, board))) == [
        ".panels[0].invented: 1 is read as None"
    ]


def test_grafana_s_type_reads_all_of_a_rule(provisioned: list[Object]) -> None:
    for rule in provisioned:
        sent = {API_NAMES.get(key, key): value for key, value in rule.items()}
        assert list(lost(sent, as_read(Rule, sent))) == []


def test_states_are_words_that_grafana_knows(provisioned: list[Object]) -> None:
    hints = typing.get_type_hints(Rule)
    for rule in provisioned:
        assert rule["noDataState"] in typing.get_args(hints["no_data_state"])
        assert rule["execErrState"] in typing.get_args(hints["exec_err_state"])


def test_they_ask_what_the_rules_of_prometheus_ask(
    groups: list[Object], rules: Object, provisioned: list[Object]
) -> None:
    assert [group["name"] for group in groups] == [group["name"] for group in rules["groups"]]
    plain = [rule for group in rules["groups"] for rule in group["rules"]]
    for ours, theirs in zip(provisioned, plain, strict=True):
        assert ours["title"] == theirs["alert"]
        assert ours["data"][0]["model"]["expr"] == theirs["expr"]
        assert ours["for"] == theirs.get("for", "0s")
        assert ours.get("keepFiringFor") == theirs.get("keep_firing_for")
        assert ours.get("labels") == theirs.get("labels")
        assert theirs["annotations"].items() <= ours["annotations"].items()


def test_a_nan_is_a_fault_like_any_other(provisioned: list[Object]) -> None:
    """The expressions have the value 1; should one get another, it must not be dropped nor be 0."""
    for rule in provisioned:
        _, reduce, threshold = (query["model"] for query in rule["data"])
        assert re.match(r"group( by|\()|absent\(", rule["data"][0]["model"]["expr"]), rule["title"]
        assert reduce["settings"] == {"mode": "replaceNN", "replaceWithValue": 1}
        assert threshold["conditions"] == [{"evaluator": {"type": "gt", "params": [0]}}]
        assert (reduce["expression"], threshold["expression"], rule["condition"]) == ("A", "B", "C")


def test_one_page_and_one_only_says_that_prometheus_cannot_be_asked(
    provisioned: list[Object],
) -> None:
    assert {rule["noDataState"] for rule in provisioned} == {"OK"}
    telling = [rule["title"] for rule in provisioned if rule["execErrState"] == "Error"]
    assert telling == ["SpeechOperatorDown"]
    assert {rule["execErrState"] for rule in provisioned} == {"Error", "KeepLast"}


def test_each_rule_is_tied_to_the_panel_that_shows_it(provisioned: list[Object]) -> None:
    panels = {
        (board["uid"], str(panel["id"])): panel["title"]
        for board in (json.loads(path.read_text("utf-8")) for path in BOARDS)
        for panel in board["panels"]
    }
    for rule in provisioned:
        notes = rule["annotations"]
        title = panels[notes["__dashboardUid__"], notes["__panelId__"]]
        assert f"/d/{notes['__dashboardUid__']}" in notes["dashboard_url"]
        assert title
    shown = {rule["title"]: rule["annotations"]["__panelId__"] for rule in provisioned}
    assert panels["speechtrain-job", shown["SpeechTrainingDataStarved"]] == "Data wait"


def test_names_fit(provisioned: list[Object], groups: list[Object]) -> None:
    uids = [rule["uid"] for rule in provisioned]
    assert len(set(uids)) == len(uids)
    assert all(re.fullmatch(r"[a-z0-9-]{1,40}", uid) for uid in uids)
    assert {group["interval"] for group in groups} == {"1m"}
