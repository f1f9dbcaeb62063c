"""Every rule has its page, and the page names the thresholds that the contract has."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from speech_contract.codec import camel, to_document
from speech_contract.progress import Rule
from speech_contract.thresholds import Thresholds

PAGES = Path(__file__).resolve().parents[2] / "docs" / "rules"
PARTS = ["Meaning", "Signal", "Threshold", "Action", "Tuning", "False alarms"]
ROW = re.compile(r"^\| `health\.(\w+)\.(\w+)` \| `([^`]*)` \|", re.MULTILINE)
# Rules whose thresholds are called otherwise, and fields that are another rule's.
GROUPS = {Rule.STALLED: "stall", Rule.TELEMETRY_MISSING: "telemetry", Rule.TELEMETRY_STALE: "telemetry"}  # fmt: skip
ELSEWHERE = {Rule.TELEMETRY_MISSING: {"staleSeconds"}, Rule.TELEMETRY_STALE: {"missingSeconds"}}


def rows(rule: Rule) -> dict[str, tuple[str, str]]:
    """Field → group and default, as the page says."""
    text = (PAGES / f"{rule.value}.md").read_text(encoding="utf-8")
    return {field: (group, default) for group, field, default in ROW.findall(text)}


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_has_its_page_with_every_part(rule: Rule) -> None:
    text = (PAGES / f"{rule.value}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {rule.value}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == PARTS


@pytest.mark.parametrize("rule", [rule for rule in Rule if rule is not Rule.TELEMETRY_UNREACHABLE])
def test_a_page_names_every_threshold_with_its_default(rule: Rule) -> None:
    group = GROUPS.get(rule, camel(re.sub(r"(?<!^)(?=[A-Z])", "_", rule.value).lower()))
    limits = to_document(Thresholds())[group]
    expected = {
        name: (group, str(value))
        for name, value in limits.items()
        if name not in ELSEWHERE.get(rule, ())
    }
    assert rows(rule) == expected


def test_no_page_without_a_rule_and_no_threshold_without_a_page() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} == {rule.value for rule in Rule}
    groups = {group for rule in Rule for group, _ in rows(rule).values()}
    fields = {camel(f.name) for f in dataclasses.fields(Thresholds)}
    assert groups == fields - {"mode"}
