"""The rule records hang together, and every rule has its page, which names the thresholds that the contract has."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path

import pytest

from speech_contract.codec import camel, to_document
from speech_contract.exit_codes import EXIT_CODES
from speech_contract.rules import Rule, Severity, rules_of
from speech_contract.stated import Expectation, LogPattern
from speech_contract.thresholds import OnExceeded, Thresholds

PAGES = Path(__file__).resolve().parents[2] / "docs" / "rules"
PARTS = ["Meaning", "Signal", "Threshold", "Action", "Tuning", "False alarms"]
ROW = re.compile(r"^\| `health\.(\w+)\.(\w+)` \| `([^`]*)` \|", re.MULTILINE)


def rows(rule: Rule) -> list[tuple[str, str, str]]:
    """Section, field and default, as the page says."""
    return ROW.findall((PAGES / f"{rule.value}.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_has_its_page_with_every_part(rule: Rule) -> None:
    text = (PAGES / f"{rule.value}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {rule.value}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == PARTS


def test_pages_name_every_threshold_once_with_its_default() -> None:
    """Rules that share a section share out its fields."""
    told = [row for rule in Rule for row in rows(rule)]
    sections = to_document(Thresholds())
    for name in ("mode", "expect", "logPatterns"):
        # What is stated has a name of its own, see below.
        sections.pop(name)
    expected = {(s, name, str(v)) for s, fields in sections.items() for name, v in fields.items()}
    assert set(told) == expected
    shared = {name for (_, name, _), times in Counter(told).items() if times > 1}
    assert shared <= {"onExceeded"}
    assert [r for r in Rule if {s for s, _, _ in rows(r)} - {camel(r.record.section)}] == []


@pytest.mark.parametrize(
    ("rule", "place", "kind"),
    [
        (Rule.EXPECTATION, "expect.NAME", Expectation),
        (Rule.LOG_PATTERN, "logPatterns[]", LogPattern),
    ],
)
def test_pages_name_every_field_of_what_is_stated(rule: Rule, place: str, kind: type) -> None:
    text = (PAGES / f"{rule.value}.md").read_text(encoding="utf-8")
    told = re.findall(rf"^\| `health\.{re.escape(place)}\.(\w+)` \| ([^|]*) \|", text, re.MULTILINE)
    fields = dataclasses.fields(kind)
    missing = {dataclasses.MISSING: "required", None: "unset"}
    shown = [missing.get(f.default) or f"`{to_document(f.default)}`" for f in fields]
    assert told == [(camel(f.name), default) for f, default in zip(fields, shown, strict=True)]


def test_no_page_without_a_rule_and_no_section_without_one() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} == {rule.value for rule in Rule}
    sections = {field.name for field in dataclasses.fields(Thresholds)} - {"mode"}
    assert {rule.record.section for rule in Rule} - {""} == sections


def test_a_rule_that_may_end_an_attempt_has_an_exit_code_and_no_other_has() -> None:
    defaults = Thresholds()
    for rule in Rule:
        code = rule.record.exit_code
        assert code is None or code in EXIT_CODES
        section = getattr(defaults, rule.record.section, None)
        if hasattr(section, "on_exceeded"):
            acts = [a for a in OnExceeded if a is not OnExceeded.WARN and _takes(section, a)]
            assert (code is not None) == bool(acts), rule
        assert (rule.record.severity is Severity.CRITICAL) == (code is not None)


def _takes(section: object, action: OnExceeded) -> bool:
    try:
        dataclasses.replace(section, on_exceeded=action)  # type: ignore[type-var]
    except ValueError:
        return False
    return True


def test_at_most_one_rule_of_a_code_is_the_trainers_own() -> None:
    for code in EXIT_CODES:
        assert sum(rule.record.trainer_ends for rule in rules_of(code)) <= 1


def test_a_rule_gives_way_to_rules_that_exist_and_never_in_a_circle() -> None:
    def winners(rule: Rule) -> set[Rule]:
        ways = {Rule(name) for name in rule.record.gives_way_to}
        return ways.union(*(winners(way) for way in ways))

    assert all(rule not in winners(rule) for rule in Rule)


def test_remedies_are_sentences_without_a_full_stop() -> None:
    wrong = re.compile(r"\.$|^[A-Z](?!ython)|^$")
    texts = [(r, t) for r in Rule for t in (r.record.remedy, r.record.meaning, r.record.follows)]
    assert [rule for rule, text in texts if wrong.search(text)] == []
