"""The strategic callbacks by hand: what is text, what attention and reference measure, and failures that are shown.

The same callbacks in real Trainers: tests/local/test_hugging_face.py.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from speech_contract import env, paths
from speech_trainer.strategic.answers import answer_facts
from speech_trainer.strategic.callbacks import (
    InputLoggerCallback,
    OutputLoggerCallback,
    SharedAttentionLoggerCallback,
    StrategicLoggingArguments,
    ZeroShotVerificationLoggerCallback,
    strategic_callbacks,
)
from speech_trainer.strategic.probes import attention, reference, undisturbed
from speech_trainer.strategic.words import Words

TEXT, CODES = 10, 6  # ids 0 to 9 are text, 10 to 15 audio


class Tokenizer:
    """Knows TEXT ids, and raises on another as a fast tokenizer does."""

    all_special_ids = (0, 1)
    eos_token_id = 1

    def __len__(self) -> int:
        return TEXT

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        if any(not 0 <= i < TEXT for i in ids):
            raise OverflowError("out of range integral type conversion attempted")
        return " ".join(f"t{i}" for i in ids)


class Model(nn.Module):
    """Answers with attention to every position before and logits of what it attends to; `deaf` to audio."""

    def __init__(self, *, deaf: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(TEXT + CODES, TEXT + CODES)
        self.drop = nn.Dropout(0.5)
        self.deaf = deaf

    def forward(
        self, input_ids: Tensor, labels: Tensor | None = None, output_attentions: bool = False
    ) -> dict[str, Any]:
        length = input_ids.size(1)
        weights = (
            torch.tril(torch.ones(length, length)).expand(input_ids.size(0), 1, -1, -1).clone()
        )
        if self.deaf:
            weights = weights * (input_ids < TEXT)[:, None, None, :] + 1e-9 * torch.eye(length)
        weights = weights / weights.sum(-1, keepdim=True)
        logits = self.drop(weights[:, 0] @ self.table(input_ids))
        loss = None if labels is None else logits.square().mean()
        answer = {"logits": logits, "loss": loss}
        return answer | ({"attentions": (weights,)} if output_attentions else {})


def batch(samples: int = 4) -> dict[str, Tensor]:
    """t0, three codes, two words, three codes that are the target, t1."""
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(TEXT, TEXT + CODES, (samples, 3), generator=generator)
    words = torch.randint(2, TEXT, (samples, 2), generator=generator)
    first, last = torch.zeros(samples, 1).long(), torch.ones(samples, 1).long()
    ids = torch.cat([first, codes, words, codes, last], dim=1)
    labels = ids.clone()
    labels[:, :6] = -100
    return {"input_ids": ids, "labels": labels}


def words(**config: Any) -> Words:
    return Words(Tokenizer(), SimpleNamespace(**config))


def step(callback: Any, model: nn.Module, number: int = 1, **fields: Any) -> None:
    """One training step under a callback, as the Trainer's events come."""
    state = SimpleNamespace(global_step=number - 1, is_world_process_zero=True)
    given = {"model": model, "processing_class": Tokenizer(), "train_dataloader": None}
    if number == 1:
        callback.on_train_begin(None, state, None, **given)
    callback.on_step_begin(None, state, None, **given)
    model(**{**batch(), **fields})
    state.global_step = number
    callback.on_step_end(None, state, None, **given)


def test_ids_are_told_apart_before_the_tokenizer_sees_them() -> None:
    said = words(audio_token_id=9).decode([0, 5, 6, 9, 12, 12, -100, -100, 1])
    assert said == "⟦t0⟧ t5 t6 ⟨audio × 3⟩ ⟨masked × 2⟩ ⟦t1⟧"


def test_audio_ids_of_nested_configs_are_known() -> None:
    nested = words(text_config=SimpleNamespace(audio_bos_token_id=7), num_audio_tokens=3)
    assert nested.audio == {7}
    assert words().segments([0, 12, 13, 5, 14]) == ["1 to 3", "4 to 5"]


def test_a_processor_s_tokenizer_is_found_and_none_is_needed() -> None:
    processor = SimpleNamespace(tokenizer=Tokenizer())
    assert Words(processor, None).size == TEXT
    assert Words(None, None).decode([3, 4, -100]) == "3 4 ⟨masked × 1⟩"


@given(st.lists(st.integers(-200, 10**6), max_size=40))
def test_no_id_breaks_the_decoding(ids: list[int]) -> None:
    words(audio_token_id=9).decode(ids)


def test_attention_shares_are_those_of_the_weights() -> None:
    (layer,) = attention(Model(), batch(), words())
    # Text at 0, 4, 5, 9 sees 0, 3/5, 3/6, 6/10 of audio; audio at 1, 2, 3, 6, 7, 8 sees text.
    assert layer["text→audio"] == pytest.approx((0 + 3 / 5 + 3 / 6 + 6 / 10) / 4, abs=1e-4)
    to_text = (1 / 2 + 1 / 3 + 1 / 4 + 3 / 7 + 3 / 8 + 3 / 9) / 6
    assert layer["audio→text"] == pytest.approx(to_text, abs=1e-4)
    expected = sum(torch.log(torch.tensor(float(n))).item() for n in range(1, 11)) / 10
    assert layer["entropy"] == pytest.approx(expected, abs=1e-3)


def test_a_reference_that_matters_is_told_from_one_that_does_not() -> None:
    heard, deaf = (reference(Model(deaf=deaf), batch(), words()) for deaf in (False, True))
    assert heard["swapped"]["mean change"] > 0
    assert heard["muted"]["largest change"] > 0
    assert "depends" in heard["verdict"]
    assert deaf["swapped"]["predictions that change"] == 0
    assert "ignored" in deaf["verdict"]
    assert heard["reference"] == "12 audio positions of input_ids that are no target"


def test_change_is_told_by_speaker_and_language_where_the_batch_has_them() -> None:
    class Told(Model):
        def forward(self, input_ids: Tensor, speaker_id: Any = None, **named: Any) -> Any:
            return super().forward(input_ids, **named)

    facts = reference(Told(), {**batch(), "speaker_id": torch.tensor([0, 0, 1, 1])}, words())
    assert set(facts["by speaker_id"]) == {"0", "1"}


def test_a_probe_leaves_no_trace() -> None:
    model = Model().train()
    model.drop.eval()
    before = torch.random.get_rng_state()
    with undisturbed(model):
        assert not model.training
        assert not torch.is_grad_enabled()
        torch.rand(3)
    assert (model.training, model.drop.training) == (True, False)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_sharded_weights_are_refused_not_waited_for() -> None:
    class FullyShardedDataParallel(Model):
        """Looks like one."""

    with pytest.raises(ValueError, match="sharded"):
        attention(FullyShardedDataParallel(), batch(), words())


@pytest.mark.parametrize(
    ("labels", "end"),
    [
        (batch()["labels"], "of 4 right"),
        (batch()["labels"].masked_fill(batch()["labels"] == 1, -100), "can't learn to stop"),
    ],
)
def test_output_tells_whether_the_end_is_a_target(labels: Tensor, end: str) -> None:
    inputs = {**batch(), "labels": labels}
    facts = answer_facts(inputs, Model()(**inputs), words(), shifted=True)
    assert facts["logits"]["end of sequence"].endswith(end)
    assert 0 <= facts["logits"]["audio accuracy"] <= 1
    assert "loss" not in facts  # it would be read as one more report


def test_labels_that_are_all_masked_are_said_to_be() -> None:
    inputs = {**batch(), "labels": torch.full((4, 10), -100)}
    facts = answer_facts(inputs, Model()(**inputs), words(), shifted=True)["logits"]
    assert facts["accuracy"] == "no such target"
    assert "nothing is learned" in facts["first sample"]["targets"]


def test_all_four_write_at_step_1_and_on_cadence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(env.RUN_DIR, str(tmp_path))
    stream = io.StringIO()
    model = Model()
    for callback in strategic_callbacks(3, stream=stream):
        for number in range(1, 7):
            step(callback, model, number)
        assert callback.failures == 0
        callback.on_train_end(None, None, None)
    events = [
        json.loads(line) for line in (tmp_path / paths.EVENTS).read_text("utf-8").splitlines()
    ]
    assert [(e["section"], e["step"]) for e in events] == [
        (title, number)
        for title in ("Input", "Output", "Shared attention", "Zero-shot verification")
        for number in (1, 3, 6)
    ]
    assert "step 3 · Shared attention" in stream.getvalue()
    assert model._forward_hooks == {}


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        (SharedAttentionLoggerCallback, "no audio ids"),
        (ZeroShotVerificationLoggerCallback, "no reference found"),
    ],
)
def test_what_cannot_be_measured_is_shown_and_counted(
    callback: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(env.RUN_DIR, raising=False)
    stream = io.StringIO()
    logger = callback(2, stream=stream)
    model = Model()
    ids = torch.randint(2, TEXT, (4, 5))
    for number in (1, 2):
        step(logger, model, number, input_ids=ids, labels=ids)
    assert logger.failures == 2
    assert stream.getvalue().count(reason) == 2


def test_a_tokenizer_that_raises_costs_its_section_alone() -> None:
    class Broken(Tokenizer):
        def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
            raise OverflowError("out of range")

    stream = io.StringIO()
    logger = InputLoggerCallback(stream=stream)
    logger._words = Words(Broken(), None)
    step(logger, Model())
    assert (logger.failures, "OverflowError" in stream.getvalue()) == (1, True)


def test_other_ranks_keep_quiet() -> None:
    stream = io.StringIO()
    logger = OutputLoggerCallback(stream=stream)
    state = SimpleNamespace(global_step=0, is_world_process_zero=False)
    given = {"model": Model(), "processing_class": None}
    logger.on_train_begin(None, state, None, **given)
    logger.on_step_begin(None, state, None, **given)
    given["model"](**batch())
    state.global_step = 1
    logger.on_step_end(None, state, None, **given)
    assert stream.getvalue() == ""


def test_the_flags_of_the_command_line() -> None:
    flags, rest = StrategicLoggingArguments.parse(
        ["--enable_strategic_logging", "--lr", "1", "--strategic_logging_steps", "7"]
    )
    assert (len(flags.callbacks()), rest) == (4, ["--lr", "1"])
    assert StrategicLoggingArguments.parse([])[0].callbacks() == []
    with pytest.raises(ValueError, match="strategic_logging_steps: 0"):
        StrategicLoggingArguments(True, 0).callbacks()
