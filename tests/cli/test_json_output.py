"""The fields of `-o json` are those that docs/command-line.md promises: none is lost, none comes unannounced."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from speech_cli.commands import doctor
from speech_cli.doctor.row import Row, ok
from speech_cli.rendering.board import BoardRow
from speech_cli.rendering.events import EventRow
from speech_cli.rendering.view import FindingView
from speech_cli.rendering.why import Explanation
from speech_contract.codec import camel

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "command-line.md").read_text("utf-8")


def promised(section: str) -> set[str]:
    """Fields in the first column of the table below `### section`."""
    (_, text) = PAGE.split(f"\n### {section}\n")
    rows = re.findall(r"^\| (`.*?) \|", text.partition("\n#")[0], re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def fields(kind: Any) -> set[str]:
    return {camel(field.name) for field in dataclasses.fields(kind)}


@pytest.mark.parametrize(
    ("section", "kind"), [("why", Explanation), ("top", BoardRow), ("doctor", Row)]
)
def test_a_dataclass_has_the_fields_of_its_table(section: str, kind: Any) -> None:
    assert promised(section) == fields(kind)


@pytest.mark.parametrize(("row", "kind"), [("findings", FindingView), ("events", EventRow)])
def test_rows_inside_of_why(row: str, kind: Any) -> None:
    (text,) = re.findall(rf"^\| `{row}` \| (.*) \|$", PAGE, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", text)) == fields(kind)


def test_what_is_printed_has_the_fields_that_are_promised(
    call: Callable[..., Result],
    runs: Any,
    make: dict[str, Callable[..., Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs.jobs = {"voice": make["complete"]()}
    monkeypatch.setattr(doctor.machine, "rows", lambda state: [ok("torch", "fine")])
    assert set(json.loads(call("wait", "voice", "-o", "json").stdout)) == promised("wait")
    assert set(json.loads(call("why", "voice", "-o", "json").stdout)) == promised("why")
    (row,) = json.loads(call("top", "-o", "json").stdout)["jobs"]
    assert set(row) == promised("top")
    checks = json.loads(call("doctor", "--local", "-o", "json").stdout)["checks"]
    assert [set(check) for check in checks] == [promised("doctor")]
