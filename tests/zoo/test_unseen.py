"""Printers and runs that reader and rules were not made with: a sound one is left alone, a fault is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import unseen
import unseen_lines
import unseen_runs

from speech_cli.recordings import Recording
from speech_contract.progress import Rule, Severity
from speech_health.replay import Replayed, replay

RUNS = [*unseen_runs.RUNS, *unseen_lines.RUNS]
BEYOND = {  # what no reader can know of them
    "kaldi chain pytorch": "an objective that rises to 0 is no loss: only that it is nan is told",
}


def judged(text: str, suffix: str, folder: Path) -> Replayed:
    path = folder / f"train.{suffix}"
    path.write_text(text, encoding="utf-8")
    return replay(Recording(path).samples())


def loud(result: Replayed) -> set[str]:
    return {fired.rule.value for fired in result.findings if fired.severity is not Severity.INFO}


@pytest.mark.parametrize("form", unseen.FORMS, ids=lambda form: form.name)
def test_a_form_is_read_left_alone_and_its_faults_are_named(
    form: unseen.Form, tmp_path: Path
) -> None:
    if form.name not in BEYOND:
        reports = unseen.sound()
        result = judged(unseen.text_of(form, reports), form.suffix, tmp_path)
        assert result.findings == []
        assert result.reports >= len(reports)
    for fault in form.faults:
        build, rules = unseen.FAULTS[fault]
        result = judged(unseen.text_of(form, build()), form.suffix, tmp_path)
        assert loud(result) & set(rules), (fault, result)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_run_is_judged_as_it_was_labelled(run: unseen_runs.Run, tmp_path: Path) -> None:
    result = judged(unseen_runs.text_of(run), run.suffix, tmp_path)
    assert bool(loud(result) & set(run.expect)) == bool(run.expect), result
    assert run.expect or not loud(result), result


@pytest.mark.parametrize("name", BEYOND)
def test_what_cannot_be_known_is_said(name: str, tmp_path: Path) -> None:
    form = next(form for form in unseen.FORMS if form.name == name)
    text = unseen.text_of(form, unseen.sound())
    assert loud(judged(text, form.suffix, tmp_path)) == {Rule.TELEMETRY_MISSING.value}


def test_every_label_names_a_rule() -> None:
    known = {rule.value for rule in Rule}
    assert {rule for run in RUNS for rule in run.expect} <= known
    assert {rule for _, rules in unseen.FAULTS.values() for rule in rules} <= known
    assert len({form.name for form in unseen.FORMS}) == len(unseen.FORMS) >= 100
