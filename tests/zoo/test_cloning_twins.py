"""The broken twins of voice cloning, at the size of a test: each is named before step 1 or within 20 steps.

The correct recipe passes and raises nothing. `make accept-health` runs the same twins whole, in the Debug preset under
the real supervisor.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_cloning
from twin_runs import WITHIN, assert_reached_and_told, check, fields_of, findings, named, wrap_of
from twins.catalogue import CLONING, Twin

from speech_contract import paths
from speech_contract.preflight import Check, Mark

NAMED = [twin for twin in CLONING if twin.rules]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 training lines and 24 held out of three voices each; no sentence of one stands in the other."""
    folder = tmp_path_factory.mktemp("codes")
    small_cloning.write_set(folder, "train", 120, 0, least=5)
    small_cloning.write_set(folder, "validation", 24, 1, least=5)
    return folder


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_cloning.settled():
        yield


def run_of(twin: Twin | None, run_dir: Path, data: Path, seed: int = 1, **more: Any) -> Any:
    """A small run; `twin` None: the correct recipe."""
    training = {"max_steps": more.pop("steps", 40), "seed": seed, "evaluate_every_steps": 20}
    config = small_cloning.config_of(run_dir, data, **fields_of(twin, training))
    return small_cloning.make(config, wrap=wrap_of(twin), **more)


@pytest.mark.parametrize("twin", CLONING, ids=named)
def test_a_twin_is_reached_through_its_hook_and_says_what_it_breaks(twin: Twin) -> None:
    assert_reached_and_told(twin)
    assert twin.check or twin.rules


@pytest.mark.parametrize("twin", CLONING, ids=named)
def test_a_twin_is_named_before_its_first_step(twin: Twin, tmp_path: Path, data: Path) -> None:
    found = check(run_of(twin, tmp_path / "run", data, checked=True))
    failed = found.get(Mark.FAILED.value, [])
    if twin.check is None:
        assert failed == []
    elif twin.warned:
        assert failed == []
        assert set(found[Mark.WARNED.value]) == {twin.check.value}
    else:
        assert twin.check.value in failed


@pytest.mark.parametrize("twin", NAMED, ids=named)
def test_a_rule_names_a_twin_within_twenty_steps(twin: Twin, tmp_path: Path, data: Path) -> None:
    last = twin.acts_from + WITHIN - 1
    run = run_of(twin, tmp_path / "run", data, dies_at=last + 1)
    told = {finding.rule for finding in findings(run, last)}
    assert told, "nobody said anything"
    assert told <= set(twin.rules), "a fault has one cause"


@pytest.mark.parametrize("seed", range(5))
def test_the_correct_recipe_passes_and_raises_nothing(
    seed: int, tmp_path: Path, data: Path
) -> None:
    run = run_of(None, tmp_path / "run", data, seed, checked=True)
    assert findings(run, 40) == []
    assert run.engine.counters.step == 40
    text = (tmp_path / "run" / paths.PREFLIGHT).read_text("utf-8")
    marks = [(row["mark"], row["check"]) for row in json.loads(text)["results"]]
    assert {
        check for mark, check in marks if mark in (Mark.FAILED.value, Mark.WARNED.value)
    } == set()
    assert marks.count((Mark.PASSED.value, Check.INPUTS.value)) == 12


def row_of(twin: Twin) -> str:
    """As docs/voice-cloning.md has it."""
    check = f"`{twin.check.value}`{' warns' if twin.warned else ''}" if twin.check else ""
    rules = ", ".join(f"`{rule.value}`" for rule in twin.rules) or f"later: {twin.later}"
    return f"| {twin.name} | {twin.breaks} | {check} | {rules} |"


def test_the_page_has_every_twin_as_it_is_here() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "voice-cloning.md"
    told = page.read_text("utf-8").partition("## What each fault looks like")[2].splitlines()
    assert [line for line in told if line.startswith("| ")][2:] == [row_of(t) for t in CLONING]
