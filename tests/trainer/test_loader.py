"""The training stream: exact resume, skipped windows, replaced and counted bad samples."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from speech_trainer.data.errors import DecodeError, EmptyText, SampleError
from speech_trainer.data.loader import Place, Quarantine, Skip, TrainingStream
from speech_trainer.data.manifest import Utterance
from speech_trainer.data.padding import TokenBudget
from speech_trainer.data.sampler import Sampler
from speech_trainer.data.samples import Sample
from speech_trainer.errors import DataError

UTTERANCES = [Utterance(f"{i}.wav", 1.0 + i, "x", line=i + 1) for i in range(20)]
Stream = TrainingStream[list[str]]
MakeStream = Callable[..., Stream]


def decode_error() -> DecodeError:
    return DecodeError("audio_filepath", "a.wav", "can't be decoded", "replace it")


def names(samples: list[Sample]) -> list[str]:
    return [sample.utterance.audio_filepath for sample in samples]


@pytest.fixture
def make_stream() -> Iterator[MakeStream]:
    streams: list[Stream] = []

    def make(
        bad: frozenset[int] = frozenset(),
        error: Callable[[], SampleError] = decode_error,
        place: Place | None = None,
        on_skip: Callable[[Skip], None] = lambda skip: None,
        size: int = 20,
        budget: TokenBudget | None = None,
    ) -> Stream:
        def load(index: int, position: int) -> Sample:
            if index in bad:
                raise error()
            return Sample(UTTERANCES[index], torch.zeros(1), [1])

        sampler = Sampler([u.duration for u in UTTERANCES[:size]], 4, seed=1)
        streams.append(TrainingStream(sampler, load, names, place or Place(), on_skip, budget))
        return streams[-1]

    yield make
    for stream in streams:
        stream.close()


def take(stream: Stream, count: int) -> list[list[str]]:
    return [stream.next_batch() for _ in range(count)]


def test_resume_continues_exactly(make_stream: MakeStream) -> None:
    undisturbed, first, second = make_stream(), make_stream(), make_stream()
    expected = take(undisturbed, 12)
    assert take(first, 5) == expected[:5]
    assert first.position == 20
    state = json.loads(json.dumps(first.state_dict()))
    second.load_state_dict(state)
    assert take(second, 7) == expected[5:]


def test_going_back_after_reading_ahead_gives_the_same_batches(make_stream: MakeStream) -> None:
    stream = make_stream()
    take(stream, 2)
    state = stream.state_dict()
    expected = take(stream, 3)
    stream.load_state_dict(state)
    assert take(stream, 3) == expected


def test_a_skipped_window_is_passed_over_at_once(make_stream: MakeStream) -> None:
    plain, skipping = make_stream(), make_stream()
    expected = take(plain, 5)
    assert take(skipping, 1) == expected[:1]
    skipping.skip([(4, 12)])
    assert take(skipping, 2) == expected[3:5]
    assert skipping.position == 20


def test_the_state_is_the_same_on_every_rank(make_stream: MakeStream) -> None:
    ranks = [make_stream(place=Place(rank, 2), bad=frozenset({rank})) for rank in range(2)]
    batches = [take(rank, 3) for rank in ranks]
    assert ranks[0].state_dict() == ranks[1].state_dict()
    assert all(len(batch) == 2 for rank in batches for batch in rank)


def test_a_bad_sample_is_replaced_counted_and_reported_when_delivered(
    make_stream: MakeStream,
) -> None:
    skips: list[Skip] = []
    stream = make_stream(bad=frozenset({3}), on_skip=skips.append)
    assert stream.skipped == {}
    batches = take(stream, 5)  # one epoch
    assert all(len(batch) == 4 for batch in batches)
    assert "3.wav" not in {name for batch in batches for name in batch}
    assert stream.skipped["DecodeError"] == len(skips) >= 1
    assert {skip.index for skip in skips} == {3}


def test_replacement_is_deterministic(make_stream: MakeStream) -> None:
    bad = frozenset({1, 2, 3})
    assert take(make_stream(bad=bad), 10) == take(make_stream(bad=bad), 10)


def test_when_everything_is_bad_the_batch_is_empty_not_an_error(make_stream: MakeStream) -> None:
    empty = EmptyText("text", "", "has nothing to say", "write what is spoken")
    stream = make_stream(bad=frozenset(range(20)), error=lambda: empty)
    assert take(stream, 1) == [[]]
    assert stream.skipped["EmptyText"] >= 4


def test_an_error_that_is_no_sample_error_ends_the_run(make_stream: MakeStream) -> None:
    def bug() -> SampleError:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        take(make_stream(bad=frozenset(range(20)), error=bug), 1)


def test_another_number_of_lines_is_refused(make_stream: MakeStream) -> None:
    state = make_stream().state_dict()
    with pytest.raises(DataError, match="20 lines were trained on so far, the manifest now gives"):
        make_stream(size=19).load_state_dict(state)


def test_quarantine_lists_each_sample_once_and_logs_the_first_ten_in_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "quarantine.jsonl"
    quarantine = Quarantine(path, UTTERANCES)
    with caplog.at_level(logging.WARNING):
        for index in [*range(12), 0, 1]:
            quarantine(Skip(position=index, index=index, error=decode_error()))
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [record["audio_filepath"] for record in records] == [f"{i}.wav" for i in range(12)]
    assert records[0]["reason"] == "DecodeError"
    assert records[0]["line"] == 1
    assert "replace it" in records[0]["message_text"]
    assert len(caplog.records) == 10
    assert all(record.exc_info for record in caplog.records)


def test_an_unwritable_quarantine_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quarantine = Quarantine(tmp_path / "no/such/folder.jsonl", UTTERANCES)
    quarantine(Skip(0, 0, decode_error()))
    assert any(getattr(r, "event", "") == "report_failed" for r in caplog.records)


@pytest.mark.parametrize("micro", [1, 2, 3])
def test_micro_batches_are_the_same_samples_in_the_same_order(
    make_stream: MakeStream, micro: int
) -> None:
    whole, cut = make_stream(), make_stream(place=Place(0, 1, micro))
    each = cut.micro_batches
    assert each == -(-4 // micro)
    for expected in take(whole, 3):
        parts = take(cut, each)
        assert [name for part in parts for name in part] == expected
        assert all(len(part) <= micro for part in parts)


def test_a_resume_starts_with_a_whole_step(make_stream: MakeStream) -> None:
    stream = make_stream(place=Place(0, 1, 1))
    expected = take(stream, 8)
    again = make_stream(place=Place(0, 1, 1))
    take(again, 4)
    state = again.state_dict()
    take(again, 3)
    again.load_state_dict(state)
    assert take(again, 4) == expected[4:]


def test_ranks_take_as_many_batches_although_their_shares_differ(make_stream: MakeStream) -> None:
    streams = [make_stream(place=Place(rank, 3, 1)) for rank in range(3)]
    assert [stream.micro_batches for stream in streams] == [2, 2, 2]
    assert [[len(b) for b in take(stream, 2)] for stream in streams] == [[1, 1], [1, 0], [1, 0]]


# -- by padded length -------------------------------------------------------------------------------------------------

BUDGET = TokenBudget([10 * (1 + i) for i in range(20)], 300)  # `i.wav` is 10 (i + 1) long


def length(name: str) -> int:
    return 10 * (1 + int(name.partition(".")[0]))


def steps(stream: Stream, count: int) -> list[list[list[str]]]:
    return [take(stream, stream.micro_batches) for _ in range(count)]


def test_a_budget_keeps_what_a_step_holds_and_bounds_what_goes_through_at_once(
    make_stream: MakeStream,
) -> None:
    whole = take(make_stream(), 5)
    ranks = [steps(make_stream(place=Place(rank, 2), budget=BUDGET), 5) for rank in range(2)]
    assert len({len(step) for step in ranks[0]}) > 1  # as many as a step needs
    for number, expected in enumerate(whole):
        one, other = ranks[0][number], ranks[1][number]
        assert len(one) == len(other)
        found = [name for part in [*one, *other] for name in part]
        assert sorted(found) == sorted(expected)
        for part in filter(None, [*one, *other]):
            assert len(part) * max(map(length, part)) <= 300


def test_a_resume_by_budget_is_exact(make_stream: MakeStream) -> None:
    stream, again = make_stream(budget=BUDGET), make_stream(budget=BUDGET)
    expected = steps(stream, 8)
    steps(again, 3)
    state = json.loads(json.dumps(again.state_dict()))
    steps(again, 2)
    again.load_state_dict(state)
    assert steps(again, 5) == expected[3:]


def test_what_replaces_a_bad_sample_fits_in_its_place(make_stream: MakeStream) -> None:
    bad = frozenset(range(5, 12))
    stream = make_stream(bad=bad, budget=BUDGET)
    found = [part for step in steps(stream, 20) for part in step]
    assert stream.skipped["DecodeError"] > 10
    assert all(len(part) * max(map(length, part)) <= 300 for part in found if part)
    assert not {length(name) // 10 - 1 for part in found for name in part} & bad
