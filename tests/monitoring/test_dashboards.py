"""The committed dashboards: what Grafana needs, what its linter asks for, and queries that are PromQL."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from product.chart import CHART, ROOT

Object = dict[str, Any]
Run = Callable[..., subprocess.CompletedProcess[str]]
SCRIPT = ROOT / "charts" / "monitoring.py"
PATHS = sorted((CHART / "files" / "dashboards").glob("*.json"))
UNITS = {"bytes", "none", "s", "sci", "short", "cps", "percentunit", "suffix: s/s"}


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def dashboard(request: pytest.FixtureRequest) -> Object:
    document: Object = json.loads(request.param.read_text("utf-8"))
    return document


def queries(dashboard: Object) -> Iterator[str]:
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def filled(query: str) -> str:
    """A query as Grafana would send it."""
    values = {"$__rate_interval": "1m", "$namespace": "speech", "$job_name": "a", "$team": ".*"}
    for name, value in values.items():
        query = query.replace(name, value)
    return query


def test_they_are_what_the_script_builds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert PATHS


def test_there_is_one_of_each_uid() -> None:
    uids = [json.loads(path.read_text("utf-8"))["uid"] for path in PATHS]
    assert len(uids) == len(set(uids))
    assert all(re.fullmatch(r"[a-z-]{1,40}", uid) for uid in uids)


def test_it_can_be_imported_anywhere(dashboard: Object) -> None:
    assert "id" not in dashboard, "an id belongs to one Grafana"
    for place in (*dashboard["panels"], *dashboard["templating"]["list"][1:]):
        assert place["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in place.get("targets", []):
            assert target["datasource"] == place["datasource"]
    names = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert names[0] == "datasource"
    assert set(names) <= {"datasource", "namespace", "job_name", "team"}
    assert len(json.dumps(dashboard)) < 500_000


def test_every_variable_that_is_used_is_there(dashboard: Object) -> None:
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard)))
    grafanas_own = {"__rate_interval", "__data", "__all"}
    assert used - grafanas_own == names


def test_panels_are_told_apart_and_do_not_overlap(dashboard: Object) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_panels_have_a_unit_and_say_what_they_show(dashboard: Object) -> None:
    for panel in dashboard["panels"]:
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["description"].endswith(".")
        assert panel["targets"]
        assert [t["refId"] for t in panel["targets"]] == list("ABCDEF"[: len(panel["targets"])])
        if panel["type"] == "timeseries":
            assert all(target["legendFormat"] for target in panel["targets"])


def test_queries_are_promql(dashboard: Object, promtool: Run, tmp_path: Path) -> None:
    rules = [{"record": f"q:{n}", "expr": filled(q)} for n, q in enumerate(queries(dashboard))]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = promtool("check", "rules", str(path))
    assert done.returncode == 0, done.stderr
    path.write_text(path.read_text().replace("max", "max by", 1))
    assert promtool("check", "rules", str(path)).returncode, "a wrong query is found"


ASKED = {
    "job": '{namespace="$namespace", job_name="$job_name"}',
    "fleet": '{namespace=~"$namespace", team=~"$team"',
}
OF_ALL = r"speech_operator_(?:job_restarts_total|job_seen)\b"  # the one has no job; the other is joined on it


@pytest.mark.parametrize("name", ASKED)
def test_queries_ask_for_the_jobs_that_were_chosen(name: str) -> None:
    board = json.loads((CHART / "files" / "dashboards" / f"{name}.json").read_text("utf-8"))
    for query in queries(board):
        asked = [m for m in re.findall(r"speech_\w+", query) if not re.match(OF_ALL, m)]
        assert query.count(ASKED[name]) == len(asked), query


def test_links_lead_to_dashboards_that_there_are() -> None:
    boards = [json.loads(path.read_text("utf-8")) for path in PATHS]
    uids = {board["uid"] for board in boards}
    linked = re.findall(r"/d/([\w-]+)\?", json.dumps(boards))
    assert linked
    assert set(linked) <= uids


SERIES = """
rule_files: []
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - {{series: 'speech_training_step{job}', values: "0+30x40"}}
      - {{series: 'speech_training_planned_steps{job}', values: "1500x40"}}
      - {{series: 'speech_training_steps_total{job}', values: "0+30x40"}}
      - {{series: 'speech_training_data_wait_seconds_total{job}', values: "0+3x40"}}
      - {{series: 'speech_training_audio_seconds_total{job}', values: "0+450x40"}}
      - {{series: 'speech_training_step_duration_seconds_bucket{job_le}"0.5"}}', values: "0+30x40"}}
      - {{series: 'speech_training_step_duration_seconds_bucket{job_le}"+Inf"}}', values: "0+30x40"}}
      - {{series: 'speech_operator_job_health_finding{rule}', values: "1x40"}}
      - {{series: 'speech_training_health_finding{rule}', values: "1x40"}}
    promql_expr_test: {expected}
"""
LABELS = 'namespace="speech", job_name="a"'
EXPECTED = {
    "Step": ("{}", 1200),
    "Time to the end": ("{}", 150),  # 300 steps are left, at 2 a second
    "Data wait": ("{}", 0.2),
    "Audio": ("{}", 30),
    "Step time": ("{}", 0.25),
    "Findings": ('{rule="ZeroLoss", severity="critical"}', 1),
}


NATIVE = """
rule_files: []
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - series: '{series}{{namespace="speech", job_name="a"}}'
        values: >-
          {{{{schema:-53 sum:0 count:0 custom_values:[0.5 1] buckets:[0 0 0]}}}}+{{{{schema:-53 sum:9 count:30
          custom_values:[0.5 1] buckets:[30 0 0]}}}}x40
    promql_expr_test: {expected}
"""


@pytest.mark.parametrize(
    ("board", "title", "series"),
    [
        ("job", "Step time", "speech_training_step_duration_seconds"),
        ("operator", "Duration of a pass", "speech_operator_reconcile_duration_seconds"),
    ],
)
def test_durations_are_there_where_a_cluster_keeps_native_histograms(
    promtool: Run, tmp_path: Path, board: str, title: str, series: str
) -> None:
    panels = json.loads((CHART / "files" / "dashboards" / f"{board}.json").read_text("utf-8"))[
        "panels"
    ]
    (panel,) = [panel for panel in panels if panel["title"] == title]
    expected = [
        {
            "expr": f"round({filled(target['expr'])}, 0.001)",
            "eval_time": "10m",
            "exp_samples": [{"labels": "{}", "value": value}],
        }
        for target, value in zip(panel["targets"], (0.25, 0.475, 0.495), strict=False)
    ]
    path = tmp_path / "native.yaml"
    path.write_text(NATIVE.format(series=series, expected=json.dumps(expected)))
    done = promtool("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_numbers_are_what_the_title_says(promtool: Run, tmp_path: Path) -> None:
    panels = json.loads((CHART / "files" / "dashboards" / "job.json").read_text("utf-8"))["panels"]
    first = {panel["title"]: filled(panel["targets"][0]["expr"]) for panel in panels}
    expected = [
        {
            "expr": f"round({first[title]}, 0.01)",
            "eval_time": "10m",
            "exp_samples": [{"labels": labels, "value": value}],
        }
        for title, (labels, value) in EXPECTED.items()
    ]
    path = tmp_path / "numbers.yaml"
    rule = f'{{{LABELS}, rule="ZeroLoss", severity="critical"}}'
    path.write_text(
        SERIES.format(
            job=f"{{{LABELS}}}", job_le=f"{{{LABELS}, le=", rule=rule, expected=json.dumps(expected)
        )
    )
    done = promtool("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_picture_on_the_page_shows_every_panel(path: Path) -> None:
    """Redrawn by `python docs/pictures.py`."""
    board = json.loads(path.read_text("utf-8"))
    drawn = ElementTree.parse(ROOT / "docs" / f"dashboard-{path.stem}.svg")
    titles = [
        node.text
        for node in drawn.iter("{http://www.w3.org/2000/svg}text")
        if node.get("class") == "t"
    ]
    assert titles == [board["title"], *(panel["title"] for panel in board["panels"])]
