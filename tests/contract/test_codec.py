"""Dataclass to document and back, strictly."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_contract import codec
from speech_contract.codec import Reading
from speech_contract.errors import ContractError
from speech_contract.findings import Verdict
from speech_contract.outcome import Outcome
from speech_contract.progress import Progress
from speech_contract.run_config import RunConfig
from speech_contract.status import JobStatus
from speech_contract.wire import Datagram, Summary, SummaryReply

DOCUMENTS = [Outcome, Progress, Datagram, Summary, SummaryReply]


@pytest.mark.parametrize("cls", DOCUMENTS)
def test_every_document_comes_back_as_it_was(cls: type) -> None:
    @given(st.builds(cls))
    def back_and_forth(value: object) -> None:
        text = codec.dumps(value)
        json.loads(text, parse_constant=lambda bare: pytest.fail(f"bare {bare} in JSON"))
        # NaN is unequal to itself, so what is compared is the text of the second writing.
        assert codec.dumps(codec.loads(cls, text)) == text

    back_and_forth()


@dataclasses.dataclass(frozen=True)
class Inner:
    some_number: float = 0.0


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = dataclasses.field(default_factory=Inner)
    many: list[Inner] = dataclasses.field(default_factory=list)
    by_name: dict[str, int] | None = None
    flag: bool = False
    count: int = 0


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"name": "a", "nmae": 1}, "nmae: 1 is an unknown field; did you mean name?"),
        ({}, "name: is missing; set it"),
        ({"name": 1}, "name: 1 is no str"),
        ({"name": "a", "flag": 1}, "flag: 1 is no bool"),
        ({"name": "a", "count": True}, "count: True is no int"),
        ({"name": "a", "count": 1.0}, "count: 1.0 is no int"),
        (
            {"name": "a", "many": [{}, {"someNumber": "x"}]},
            r"many\[1\].someNumber: 'x' is no number",
        ),
        ({"name": "a", "many": {}}, "many: {} is no list"),
        ({"name": "a", "byName": {"x": "1"}}, "byName.x: '1' is no int"),
        ({"name": "a", "inner": []}, r"inner: \[\] is no object"),
        ({"name": "a", "inner": {"some_number": 1}}, "did you mean someNumber?"),
    ],
)
def test_a_wrong_document_is_named_by_path(document: dict[str, object], sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        codec.from_document(Outer, document)


def test_another_versions_fields_are_passed_over_and_nothing_else() -> None:
    newer = {"name": "a", "later": 1, "inner": {"someNumber": 2.0, "more": []}}
    assert codec.from_document(Outer, newer, reading=Reading.NEWER) == Outer("a", Inner(2.0))
    with pytest.raises(ContractError, match="count: 'x' is no int"):
        codec.from_document(Outer, {"name": "a", "count": "x"}, reading=Reading.NEWER)


@dataclasses.dataclass(frozen=True)
class Shown:
    word: Verdict = Verdict.UNKNOWN
    name: str = ""
    rows: tuple[Outer, ...] = ()
    by_name: dict[str, int] = dataclasses.field(default_factory=dict)


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        ({"name": 1, "word": 3, "rows": {}}, Shown()),
        (
            {"rows": [{"name": "a", "count": "x"}, 5, {"name": 2}]},
            Shown(rows=(Outer("a"), Outer(""))),
        ),
        ({"byName": {"a": 1, "b": "x"}}, Shown(by_name={"a": 1})),
    ],
)
def test_what_can_be_read_is_salvaged(document: dict[str, object], shown: Shown) -> None:
    assert codec.from_document(Shown, document, reading=Reading.SALVAGE) == shown


def test_a_newer_versions_word_is_shown_as_it_is() -> None:
    shown = codec.from_document(Shown, {"word": "Thriving"}, reading=Reading.SALVAGE)
    assert (shown.word.value, shown.word == "Thriving") == ("Thriving", True)
    assert codec.to_document(shown)["word"] == "Thriving"
    assert [verdict.value for verdict in Verdict if verdict.value == "Thriving"] == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from([codec.camel(field.name) for field in dataclasses.fields(JobStatus)])


@given(st.dictionaries(FIELDS, JSON | st.dictionaries(FIELDS, JSON)))
def test_of_any_document_something_is_salvaged(document: dict[str, object]) -> None:
    shown = codec.from_document(JobStatus, document, reading=Reading.SALVAGE)
    assert isinstance(shown.attempts, tuple)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"x"', "[" * 100_000])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ContractError):
        codec.loads(Outer, text)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_travel_as_text(value: float) -> None:
    text = codec.dumps(Inner(value))
    back = codec.loads(Inner, text).some_number
    assert back == value or (math.isnan(back) and math.isnan(value))


def test_none_is_left_out() -> None:
    assert codec.to_document(Outer("a"))["inner"] == {"someNumber": 0.0}
    assert "byName" not in codec.to_document(Outer("a"))


def test_the_run_config_knows_its_world() -> None:
    fields = {f.name for f in dataclasses.fields(RunConfig)}
    assert {"token", "resume_from", "health", "grace_seconds", "omp_threads"} <= fields
