"""Alert rules, judged by promtool: each silent just before its threshold and firing just after it."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from product import chart
from product.chart import CHART, ROOT

from speech_contract.rules import Rule

Object = dict[str, Any]
Run = Callable[..., subprocess.CompletedProcess[str]]
CASES = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
SOURCE = CHART / "files" / "speechtrain.rules.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks.md"
ANY = "*"
SUPERVISOR, OPERATOR = "speech_training_health_finding", "speech_operator_job_health_finding"
# Alerts that rest on findings alone, and the rules that each tells of. All that no one names: Finding.
NAMED = {
    "SpeechTrainingNonFinite": {"NonFinite"},
    "SpeechTrainingZeroLoss": {"ZeroLoss"},
    "SpeechTrainingNotLearning": {
        "NoGradient", "NotUpdating", "Implausible", "ConstantComponent", "Plateau",
    },
    "SpeechTrainingLossSpike": {"LossSpike"},
    "SpeechTrainingCodebookCollapse": {"CodebookCollapse"},
    "SpeechTrainingSkippedSamples": {"SkippedSamples"},
}  # fmt: skip
CATCH_ALL = "SpeechTrainingFinding"
ELSEWHERE = {"Stalled", "TelemetryMissing", "TelemetryStale", "TelemetryUnreachable"}
ALERT_OF = {rule: alert for alert, rules in NAMED.items() for rule in rules}
KEPT = [rule.value for rule in Rule if rule.value not in ELSEWHERE]  # for ten minutes


def alerts(rules: Object) -> list[Object]:
    return [rule for group in rules["groups"] for rule in group["rules"]]


def filled(text: str, labels: dict[str, str]) -> str:
    """As Prometheus fills in an annotation."""
    return re.sub(r"{{\s*\$labels\.(\w+)\s*}}", lambda found: labels.get(found[1], ""), text)


def completed(case: Object, rules: Object) -> Object:
    """A case with what every case would have to repeat: annotations, and `*` written out."""
    notes = {rule["alert"]: rule["annotations"] for rule in alerts(rules)}
    for test in case["tests"]:
        told = copy.deepcopy(test.get("alert_rule_test", []))
        names = {ANY: list(notes)}
        test["alert_rule_test"] = [
            {**each, "alertname": name}
            for each in told
            for name in names.get(each["alertname"], [each["alertname"]])
        ]
        for each in test["alert_rule_test"]:
            for alert in each["exp_alerts"]:
                own = notes.get(each["alertname"], {})
                expected = {key: filled(text, alert["exp_labels"]) for key, text in own.items()}
                alert.setdefault("exp_annotations", expected)
    return case


def finding(source: str, job: str, rule: str, severity: str, values: str) -> dict[str, str]:
    """A series as supervisor or operator have it."""
    labels = f'namespace="speech", job_name="{job}", rule="{rule}", severity="{severity}"'
    return {"series": f"{source}{{{labels}}}", "values": values}


def expected(rule: str, job: str, severity: str) -> Object:
    labels = {"severity": severity, "namespace": "speech", "job_name": job}
    return {"exp_labels": labels if rule in ALERT_OF else {**labels, "rule": rule}}


def finding_case(rules: list[str]) -> Object:
    """By both, once, as severe as found; kept ten minutes; never of what is only mentioned, or was seen."""
    series, warned, gone = [], [], []
    for rule in rules:
        both, away, told, seen = (
            f"{rule.lower()}-{end}" for end in ("both", "away", "told", "seen")
        )
        series += [
            # gone after 2 minutes
            finding(SUPERVISOR, both, rule, "warning", "_x5 1x4 stale"),
            finding(OPERATOR, both, rule, "warning", "0x5 1x3 0x60"),
            # the pod is gone, as after a stop
            finding(OPERATOR, away, rule, "critical", "0x4 1x60"),
            finding(SUPERVISOR, told, rule, "info", "1x60"),
            finding(OPERATOR, told, rule, "info", "1x60"),
            finding(OPERATOR, seen, rule, "critical", "1x60"),
            {"series": f'speech_operator_job_seen{{namespace="speech", job_name="{seen}"}}', "values": "1x60"},
        ]  # fmt: skip
        warned.append((rule, expected(rule, both, "warning")))
        gone.append((rule, expected(rule, away, "critical")))
    at = {"60s": [], "75s": warned + gone, "12m": warned + gone, "12m30s": gone, "14m": gone}
    tests = [
        {
            "eval_time": time,
            "alertname": alert,
            "exp_alerts": [each for rule, each in fires if ALERT_OF.get(rule, CATCH_ALL) == alert],
        }
        for time, fires in at.items()
        for alert in (*NAMED, CATCH_ALL)
    ]
    return {"name": "findings", "interval": "15s", "input_series": series, "alert_rule_test": tests}


def exclusive_case(every: list[str]) -> Object:
    """Each critical finding that there can be has one alert, and no other."""
    jobs = {rule.value: rule.value.lower() for rule in Rule}
    own = {alert: names for alert, names in NAMED.items()}
    own["SpeechTrainingStalled"] = {"Stalled"}
    own["SpeechTrainingTelemetryMissing"] = ELSEWHERE - {"Stalled"}
    own[CATCH_ALL] = jobs.keys() - {rule for rules in own.values() for rule in rules}
    told = []
    for alert in every:
        severity = "warning" if alert.endswith("TelemetryMissing") else "critical"
        fires = [expected(rule, jobs[rule], severity) for rule in own.get(alert, ())]
        for each in fires if alert != CATCH_ALL else ():
            each["exp_labels"].pop("rule", None)
        told.append({"eval_time": "6m", "alertname": alert, "exp_alerts": fires})
    series = [finding(OPERATOR, job, rule, "critical", "1x40") for rule, job in jobs.items()]
    leader = {"series": "speech_operator_leader", "values": "1x40"}
    return {
        "name": "one alert for each rule",
        "interval": "15s",
        "input_series": [*series, leader],
        "alert_rule_test": told,
    }


def drawn(rules: Object) -> Object:
    """Cases that are the same for every rule."""
    every = [rule["alert"] for rule in alerts(rules)]
    tests = [finding_case(KEPT), exclusive_case(every)]
    return {"rule_files": ["rules.yaml"], "evaluation_interval": "15s", "tests": tests}


def all_cases(rules: Object) -> dict[str, Object]:
    """What is expected of these rules, by file."""
    cases = {path.name: yaml.safe_load(path.read_text("utf-8")) for path in CASES}
    cases["drawn.yaml"] = drawn(rules)
    return {name: completed(case, rules) for name, case in cases.items()}


def run_cases(promtool: Run, rules: Object, cases: dict[str, Object], folder: Path) -> str:
    """What promtool has to say against cases; empty when all is as expected. Computes the alerts they ask for alone."""
    for name, case in cases.items():
        asked = {each["alertname"] for test in case["tests"] for each in test["alert_rule_test"]}
        wanted = [rule for rule in alerts(rules) if rule["alert"] in asked]
        groups = {"groups": [{"name": "asked", "rules": wanted}]}
        (folder / f"rules-{name}").write_text(json.dumps(groups))  # JSON is YAML, and soon written
        (folder / name).write_text(json.dumps({**case, "rule_files": [f"rules-{name}"]}))
    done = promtool("test", "rules", *(str(folder / name) for name in cases))
    return done.stdout + done.stderr if done.returncode else ""


def about(cases: dict[str, Object], alert: str) -> dict[str, Object]:
    """What the cases ask of this alert."""
    kept = {}
    for name, case in cases.items():
        asked = [
            {"alert_rule_test": told, **{k: test[k] for k in ("interval", "input_series")}}
            for test in case["tests"]
            if (told := [t for t in test["alert_rule_test"] if t["alertname"] == alert])
        ]
        if asked:
            kept[name] = {**case, "tests": asked}
    return kept


def test_alerts_fire_as_written(promtool: Run, rules: Object, tmp_path: Path) -> None:
    assert run_cases(promtool, rules, all_cases(rules), tmp_path) == ""


def test_promtool_finds_nothing_to_lint(promtool: Run, rules_file: Path) -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", str(rules_file))
    assert done.returncode == 0, done.stderr


def mutants() -> Iterator[tuple[str, Object]]:
    """Rules with one thing changed that some case must notice."""
    text = SOURCE.read_text("utf-8")
    for old, new in (
        ("[5m]", "[1m]"),
        ("keep_firing_for: 10m", "keep_firing_for: 5m"),
        ("keep_firing_for: 5m", "keep_firing_for: 1m"),
        ("> 1800", ">= 1800"),
        ("for: 5m", "for: 4m"),
        ("for: 2m", "for: 1m"),
        ("for: 15m", "for: 14m"),
        ("for: 30m", "for: 29m"),
        ("> 86400", ">= 86400"),
        ("speech_operator_job_seen == 1", "speech_operator_job_seen == 2"),
        ("or abs(speech_training_loss) == Inf", ""),
        ("or speech_training_loss != speech_training_loss", ""),
        ('{kind="loss"}', ""),
        (', severity!="info"', ""),
        ("(namespace, job_name, team, severity)", "(namespace, job_name, team, severity, rule)"),
        ("(namespace, job_name, team, severity, rule)", "(namespace, job_name, team, severity)"),
        ('state="Failed"', 'state=~"Failed|Restarting"'),
        ("unless on (namespace, job_name) speech_training_steps_total", ""),
        ("absent(speech_operator_leader == 1)", "absent(speech_operator_leader)"),
        ('|TelemetryUnreachable", severity!="info"} == 1\n            or (', '"} == 1 or ('),
        ("severity: critical", "severity: warning"),
        ('finding{rule="LossSpike"', 'finding{rule="GradientSpike"'),
        ("|Plateau|", "|"),
        ("> 0.5", "> 0.51"),
        ("[10m]", "[5m]"),
        ("> 2 *", ">= 2 *"),
        (" or speech_training_step * 0", ""),
        (">= 3", ">= 2"),
        ("[1h]", "[2h]"),
        ("|Restarting", ""),
        ('result="failed"', 'result=~"failed|conflict"'),
        (") > 2\n", ") > 1\n"),
    ):
        changed = text.replace(old, new)
        yield old, yaml.load(changed, yaml.CSafeLoader) if changed != text else {}


def test_a_changed_rule_is_noticed(promtool: Run, tmp_path: Path) -> None:
    rules = yaml.safe_load(SOURCE.read_text("utf-8"))
    cases, unnoticed = all_cases(rules), []
    for what, mutant in mutants():
        assert mutant, f"{what} is no longer part of the rules"
        pairs = zip(alerts(rules), alerts(mutant), strict=True)
        changed = [old["alert"] for old, new in pairs if old != new]
        if not any(run_cases(promtool, mutant, about(cases, name), tmp_path) for name in changed):
            unnoticed.append(what)
    assert unnoticed == []


def test_every_alert_has_its_case(rules: Object) -> None:
    text = "".join(case.read_text("utf-8") for case in CASES)
    fired = set(re.findall(r"alertname: (\w+)\n +exp_alerts:", text)) | set(NAMED) | {CATCH_ALL}
    assert fired == {rule["alert"] for rule in alerts(rules)}


def test_alerts_say_what_and_where_to_read_on(rules: Object) -> None:
    for rule in alerts(rules):
        severity = rule.get("labels", {}).get("severity")
        assert severity in ("critical", "warning") or ", severity" in rule["expr"]
        notes = rule["annotations"]
        assert notes.keys() == {"summary", "description", "runbook_url", "dashboard_url"}
        assert "$" not in notes["summary"], "a summary is the same for all jobs"
        if "namespace" in rule["expr"]:
            assert "{{ $labels.namespace }}/{{ $labels.job_name }}" in notes["description"]


def test_each_alert_of_a_job_carries_its_team_and_its_dashboard(rules: Object) -> None:
    jobs = [rule for rule in alerts(rules) if "job_name" in rule["expr"]]
    assert len(jobs) == len(alerts(rules)) - 2
    for rule in jobs:
        assert rule["expr"].startswith("group by (namespace, job_name, team")
        link = filled(rule["annotations"]["dashboard_url"], {"namespace": "n", "job_name": "j"})
        assert link == "/d/speechtrain-job?var-namespace=n&var-job_name=j"


def test_links_and_labels_of_a_release(rules: Object) -> None:
    own = {
        "grafanaUrl": "https://g.example",
        "additionalRuleLabels": {"tier": "x", "severity": "none"},
    }
    for rule, plain in zip(
        alerts(chart.rules({"prometheusRule": {"enabled": True, **own}})), alerts(rules), strict=True
    ):  # fmt: skip
        before = plain["annotations"]["dashboard_url"]
        assert rule["annotations"]["dashboard_url"] == f"https://g.example{before}"
        # Severity is the finding's.
        assert rule["labels"] == {**plain.get("labels", {}), "tier": "x"}


def test_each_alert_has_its_section_and_each_section_its_alert(rules: Object) -> None:
    headings = re.findall(r"^## (Speech\w+)$", RUNBOOKS.read_text("utf-8"), re.MULTILINE)
    assert headings == [rule["alert"] for rule in alerts(rules)]
    for rule in alerts(rules):
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (ROOT / page) == RUNBOOKS
        assert anchor == rule["alert"].lower()


def test_sections_tell_where_to_look_and_what_to_do() -> None:
    sections = re.split(r"^## (?=Speech)", RUNBOOKS.read_text("utf-8"), flags=re.MULTILINE)[1:]
    for section in sections:
        assert "- **Look**:" in section, section.splitlines()[0]
        assert "- **Do**:" in section, section.splitlines()[0]
