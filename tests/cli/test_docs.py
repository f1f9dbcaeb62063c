"""Pages say what the contract says, and their links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from speech_contract import metrics, outcome
from speech_contract.findings import Action, FindingStatus, Verdict
from speech_contract.progress import Rule
from speech_contract.reasons import State

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")
CODE = re.compile(r"^( {4}.*|```.*?^```)$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_up_to_date(generator: ModuleType) -> None:
    assert generator.main(["--check"]) == 0


def test_a_stale_or_missing_page_is_found(generator: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    assert set(generator.stale(folder)) == set(generator.PAGES)
    for name, page in generator.PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
    assert generator.stale(folder) == []
    (folder / "metrics.md").write_text(generator.metric_table() + "x", encoding="utf-8")
    assert generator.stale(folder) == ["metrics.md"]


def test_the_readme_shows_figures_of_every_acceptance_run(generator: ModuleType) -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    results = {path.stem for path in generator.RESULTS.glob("*.json")}
    assert [name for name in results if f"`make accept-{name}`" not in page] == []


def test_every_exit_code_and_metric_has_its_row(generator: ModuleType) -> None:
    rows = generator.exit_codes().splitlines()
    assert all(any(row.startswith(f"| {code} |") for row in rows) for code in outcome.EXIT_CODES)
    page = generator.metric_table()
    told = (*metrics.TRAINING_METRICS, *metrics.OPERATOR_METRICS)
    assert all(f"| `{metric.name}` |" in page for metric in told)


@pytest.mark.parametrize("words", [Rule, Verdict, State, Action, FindingStatus])
def test_the_verdict_page_explains_every_word(words: type) -> None:
    page = (ROOT / "docs" / "verdict.md").read_text(encoding="utf-8")
    assert [word.value for word in words if f"`{word.value}`" not in page] == []  # type: ignore[attr-defined]


def anchors(page: Path) -> set[str]:
    """Headings as GitHub and mkdocs name them."""
    headings = HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


def dead_links(page: Path) -> list[str]:
    """Links of a page that lead to no file, or to no heading of it."""
    dead = []
    for path, anchor in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(f"{path}#{anchor}")
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    assert dead_links(page) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("# One: two\n[a](#one-two) [b](#two) [c](b.md) [d](https://x.y) `[e](e.md)`\n")
    assert dead_links(page) == ["#two", "b.md#"]


def test_every_page_has_its_place_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")}
    assert sorted(re.findall(r"(?:- |: )([\w-]+\.md)$", text, re.MULTILINE)) == sorted(pages)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_pages_exist(page: Path) -> None:
    from speech_cli.main import COMMANDS

    typed = re.findall(r"(?:^ {4}|`)speechtrain ([a-z]+)", page.read_text(encoding="utf-8"), re.M)
    assert [name for name in typed if name not in COMMANDS] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_named_on_pages_exist(page: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8"))
    assert [
        (path, name)
        for path, name in named
        if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")
    ] == []
