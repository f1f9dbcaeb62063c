"""Alert rules, judged by promtool: each silent just before its threshold and firing just after it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from product.chart import CHART, ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]
CASES = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
SOURCE = CHART / "files" / "speechtrain.rules.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks.md"


def alerts(rules: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in rules["groups"] for rule in group["rules"]]


def run_cases(promtool: Run, case: Path, rules: dict[str, Any], folder: Path) -> str:
    """What promtool has to say against a case; empty when all is as expected."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    shutil.copy(case, folder)
    done = promtool("test", "rules", str(folder / case.name))
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_alerts_fire_as_written(
    promtool: Run, rules: dict[str, Any], case: Path, tmp_path: Path
) -> None:
    assert run_cases(promtool, case, rules, tmp_path) == ""


def test_promtool_finds_nothing_to_lint(promtool: Run, rules_file: Path) -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", str(rules_file))
    assert done.returncode == 0, done.stderr


def mutants() -> Iterator[tuple[str, dict[str, Any]]]:
    """Rules with one thing changed that some case must notice."""
    text = SOURCE.read_text("utf-8")
    for old, new in (
        ("[5m]", "[1m]"),
        ("keep_firing_for: 10m", "keep_firing_for: 5m"),
        ("> 1800", ">= 1800"),
        ("for: 5m", "for: 4m"),
        ("for: 2m", "for: 1m"),
        ("or (speech_training_loss_finite == 0)", ""),
        ("max by (namespace, job_name)", "max by (namespace, job_name, rule)"),
        ('state="Failed"', 'state=~"Failed|Restarting"'),
        ("unless on (namespace, job_name) speech_training_steps_total", ""),
        ("absent(speech_operator_leader == 1)", "absent(speech_operator_leader)"),
        ('|TelemetryUnreachable"', '"'),
        ("severity: critical", "severity: warning"),
        ('finding{rule="LossSpike"}', 'finding{rule="GradientSpike"}'),
        ('or (speech_operator_job_health_finding{rule="LossSpike"} == 1)', ""),
        ('or (speech_operator_job_health_finding{rule="CodebookCollapse"} == 1)', ""),
    ):
        changed = text.replace(old, new)
        yield old, yaml.safe_load(changed) if changed != text else {}


def test_a_changed_rule_is_noticed(promtool: Run, tmp_path: Path) -> None:
    unnoticed = []
    for what, mutant in mutants():
        assert mutant, f"{what} is no longer part of the rules"
        if not any(run_cases(promtool, case, mutant, tmp_path) for case in CASES):
            unnoticed.append(what)
    assert unnoticed == []


def test_every_alert_has_its_case() -> None:
    text = "".join(case.read_text("utf-8") for case in CASES)
    fired = re.findall(r"alertname: (\w+)\n +exp_alerts:", text)
    assert set(fired) == {
        rule["alert"] for rule in alerts(yaml.safe_load(SOURCE.read_text("utf-8")))
    }


def test_alerts_say_what_and_where_to_read_on(rules: dict[str, Any]) -> None:
    for rule in alerts(rules):
        assert rule["labels"]["severity"] in ("critical", "warning")
        notes = rule["annotations"]
        assert notes.keys() == {"summary", "description", "runbook_url"}
        assert "$" not in notes["summary"], "a summary is the same for all jobs"
        if "namespace" in rule["expr"]:
            assert "{{ $labels.namespace }}/{{ $labels.job_name }}" in notes["description"]


def test_each_alert_has_its_section_and_each_section_its_alert(rules: dict[str, Any]) -> None:
    headings = re.findall(r"^## (\w+)$", RUNBOOKS.read_text("utf-8"), re.MULTILINE)
    assert headings == [rule["alert"] for rule in alerts(rules)]
    for rule in alerts(rules):
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (ROOT / page) == RUNBOOKS
        assert anchor == rule["alert"].lower()


def test_sections_tell_where_to_look_and_what_to_do() -> None:
    sections = re.split(r"^## ", RUNBOOKS.read_text("utf-8"), flags=re.MULTILINE)[1:]
    for section in sections:
        assert "- **Look**:" in section, section.splitlines()[0]
        assert "- **Do**:" in section, section.splitlines()[0]
