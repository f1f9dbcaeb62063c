"""What a person states: ranges and patterns, built right or refused with field and remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from speech_contract import api
from speech_contract.actions import OnExceeded
from speech_contract.codec import from_document, to_document
from speech_contract.errors import ContractError
from speech_contract.rules import Severity
from speech_contract.stated import MAX_LINE, MAX_PATTERN, MAX_PATTERNS, Expectation, LogPattern
from speech_contract.thresholds import Thresholds

Bend = Callable[..., dict[str, Any]]


def named(pattern: str) -> LogPattern:
    return LogPattern("a", pattern)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: Expectation(), "max"),
        (lambda: Expectation(max="two"), "max"),
        (lambda: Expectation(min="nan"), "min"),
        (lambda: Expectation(min="2", max="1"), "min"),
        (lambda: Expectation(max="1", from_step=-1), "fromStep"),
        (lambda: Expectation(max="1", for_reports=0), "forReports"),
        (lambda: Expectation(max="1", on_exceeded=OnExceeded.RESTART), "onExceeded"),
        (lambda: LogPattern("", "a"), "name"),
        (lambda: LogPattern("two words", "a"), "name"),
        (lambda: named(""), "pattern"),
        (lambda: named("a" * (MAX_PATTERN + 1)), "pattern"),
        (lambda: named("(a"), "pattern"),
        (lambda: named("a{99999999999}"), "pattern"),
        (lambda: named("a*"), "pattern"),
        (lambda: LogPattern("a", "a", times=0), "times"),
        (lambda: LogPattern("a", "a", action=OnExceeded.ROLLBACK), "action"),
        (lambda: Thresholds(log_patterns=(named("a"), named("b"))), "logPatterns"),
        (
            lambda: Thresholds(
                log_patterns=tuple(LogPattern(f"p{k}", "a") for k in range(MAX_PATTERNS + 1))
            ),
            "logPatterns",
        ),
    ],
)
def test_a_wrong_statement_is_refused_by_name(build: Callable[[], object], field: str) -> None:
    with pytest.raises(ContractError) as caught:
        build()
    assert caught.value.field == field
    assert caught.value.remedy


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$",
        r"(a|aa)+$",
        r"(\w*,)*x",
        r"([^,]+,?)*;",
        r"(?:a{1,9}){1,9}b",
        r"((a+)b)*c",
        r"(?P<w>\S+ )*end",
        r".*a.*b.*c",
        r"[^ ]+\S+.+x",
        r"\d+ \d+ \d+ \d+ \d+ \d+ \d+",
    ],
)
def test_what_may_take_minutes_on_a_line_is_refused(pattern: str) -> None:
    with pytest.raises(ContractError, match="repeats"):
        named(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"uncorrectable ECC error",
        r"falling back to (cpu|eager)",
        r"(?i)warning.*(nan|inf)\b",
        r"loss[ =]+(?:\d+\.)?\d+e\+\d+",
        r"^\[rank\d+\]: .*Timeout.*$",
        r"\(a+\)+",
        r"[(*+]a+",
        r"(?:ab)+c",
        r"a\{2,\}",
    ],
)
def test_what_people_write_is_taken(pattern: str) -> None:
    assert named(pattern).pattern == pattern


@pytest.mark.parametrize("pattern", [r".*.*x", r"\S+ \S+=\d+x", r"a*b*c*d*\d*\w*x"])
def test_the_worst_that_is_taken_comes_to_an_end(pattern: str) -> None:
    """Within the bound of a line, whatever is printed."""
    search = re.compile(named(pattern).pattern).search
    for line in ("a" * MAX_LINE, "1" * MAX_LINE, "a " * (MAX_LINE // 2), "abcd" * (MAX_LINE // 4)):
        assert search(line, 0, MAX_LINE) is None


def test_a_range_holds_its_bounds() -> None:
    stated = Expectation(min="-1", max="2.0")
    assert [stated.holds(value) for value in (-1.01, -1.0, 0.0, 2.0, 2.01)] == [
        False, True, True, True, False,
    ]  # fmt: skip
    assert stated.text == "min -1 and max 2.0"


def test_it_travels_with_the_run_config() -> None:
    health = Thresholds(
        expect={"vqLoss": Expectation(max="2.0")},
        log_patterns=(LogPattern("ecc", "ECC", Severity.CRITICAL, 2, OnExceeded.RESTART),),
    )
    assert from_document(Thresholds, to_document(health)) == health


def test_a_manifest_says_it(bend: Bend) -> None:
    health = {
        "expect": {"vqLoss": {"max": "2.0", "onExceeded": "Stop"}},
        "logPatterns": [{"name": "ecc", "pattern": "ECC", "severity": "critical"}],
    }
    stated = api.parse(bend("spec.health", health)).spec.health
    assert stated.expect["vqLoss"].on_exceeded is OnExceeded.STOP
    assert stated.log_patterns[0].severity is Severity.CRITICAL


@pytest.mark.parametrize(
    ("health", "field", "remedy"),
    [
        ({"expect": {"vq": {"max": 2.0}}}, "spec.health.expect.vq.max", "quotes"),
        ({"expect": {"vq": {"maxi": "2"}}}, "spec.health.expect.vq.maxi", "did you mean max?"),
        ({"expect": {"vq": {}}}, "spec.health.expect.vq.max", "at least one"),
        (
            {"logPatterns": [{"name": "a", "pattern": "(a"}]},
            "spec.health.logPatterns[0].pattern",
            "escape",
        ),
        (
            {"logPatterns": [{"name": "a", "pattern": "a", "action": "Rollback"}]},
            "spec.health.logPatterns[0].action",
            "use one of Warn, Restart, Stop",
        ),
        ({"logPatterns": [{"name": "a"}]}, "spec.health.logPatterns[0].pattern", "set it"),
    ],
)
def test_a_manifest_that_says_it_wrong_is_told_where_and_how(
    bend: Bend, health: dict[str, Any], field: str, remedy: str
) -> None:
    (problem,) = api.validate(bend("spec.health", health))
    assert problem.field == field
    assert remedy in problem.remedy
