"""The four strategic loggers as callbacks of a Hugging Face Trainer. Given by people to `Trainer(callbacks=[…])`.

    from speech_trainer.strategic.callbacks import strategic_callbacks
    trainer = Trainer(..., callbacks=strategic_callbacks(every_steps=100))

Nothing of the Trainer is overridden: a forward hook hears inputs and outputs, everything else happens after the
step. A section that fails is counted and shown, and training goes on. transformers is not imported: a callback is
whatever has the events.
"""

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from torch import Tensor, nn

from speech_contract import env, paths
from speech_contract.events import Event
from speech_telemetry.logs import EventLog
from speech_trainer.strategic.answers import answer_facts
from speech_trainer.strategic.collect import collect
from speech_trainer.strategic.facts import ends, statistics
from speech_trainer.strategic.hearing import Hearing
from speech_trainer.strategic.log import StrategicLog
from speech_trainer.strategic.probes import attention, reference
from speech_trainer.strategic.words import Words

EVERY_STEPS: Final = 100
_SHOWN: Final = 2  # samples of a batch
_TEXT_FIELDS: Final = ("input_ids", "decoder_input_ids", "labels")


class StrategicCallback:
    """What the four share: when to look, where to write. `failures` counts sections that could not be built."""

    title = ""

    def __init__(
        self,
        every_steps: int = EVERY_STEPS,
        *,
        audio_ids: Collection[int] = (),
        stream: TextIO | None = None,
    ) -> None:
        """`audio_ids`: ids of `input_ids` that are audio and that neither config nor tokenizer tells.

        Raises ValueError for `every_steps` below 1.
        """
        if every_steps < 1:
            raise ValueError(f"strategic_logging_steps: {every_steps} is below 1; write at least 1")
        self._every = every_steps
        self._audio_ids = audio_ids
        self._log = StrategicLog(sys.stdout if stream is None else stream, _emit)
        self._hearing = Hearing()
        self._words: Words | None = None

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Events that we do not need, those of future versions too."""
        if name.startswith("on_"):
            return _nothing
        raise AttributeError(name)

    @property
    def failures(self) -> int:
        """Sections that could not be built so far."""
        return self._log.failures

    def facts(self, model: nn.Module, step: int, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The section. May raise anything: it is shown and counted."""
        raise NotImplementedError

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Listen to the model of the first rank."""
        if state.is_world_process_zero:
            self._hearing.listen(given["model"])

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Arm the hook for a step that is due: the first one, then each `every_steps`-th."""
        self._hearing.forget()
        step = int(state.global_step) + 1
        self._hearing.armed = bool(state.is_world_process_zero) and (
            step == 1 or step % self._every == 0 or not self._hearing.fixed
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Write the section, outside the step."""
        step = int(state.global_step)
        due = self._hearing.armed and (step == 1 or step % self._every == 0)
        if due:
            self._log.write(step, collect({self.title: lambda: self._section(step, given)}))
        self._hearing.forget()

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Let go of the model."""
        self._hearing.close()

    def _section(self, step: int, given: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self._hearing.inputs:
            raise ValueError("the model's forward was not called in this step")
        return self.facts(given["model"], step, given)

    def words(self, given: Mapping[str, Any]) -> Words:
        """The alphabet of the run."""
        if self._words is None:
            processing = given.get("processing_class", given.get("tokenizer"))
            config = getattr(given["model"], "config", None)
            self._words = Words(processing, config, self._audio_ids)
        return self._words


class InputLoggerCallback(StrategicCallback):
    """Section *Input*: what data came, decoded with special tokens marked, shapes, audio segments and positions."""

    title = "Input"

    def facts(self, model: nn.Module, step: int, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Of the batch that the model was given."""
        inputs, words = self._hearing.inputs, self.words(given)
        tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
        facts: dict[str, Any] = {"data received": _received(given)} if step == 1 else {}
        facts["fields"] = {n: _field(v) for n, v in tensors.items() if v.ndim}
        facts["samples"] = [_sample(tensors, words, i) for i in range(min(_SHOWN, _batch(tensors)))]
        return facts


class OutputLoggerCallback(StrategicCallback):
    """Section *Output*: prediction against label, first and last ten; accuracy of text, audio and end marks."""

    title = "Output"

    def __init__(self, *arguments: Any, shifted: bool | None = None, **named: Any) -> None:
        """`shifted`: position t predicts t + 1. None: yes, unless the config says encoder-decoder."""
        super().__init__(*arguments, **named)
        self._shifted = shifted

    def facts(self, model: nn.Module, step: int, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Of what the model answered."""
        shifted = self._shifted
        if shifted is None:
            shifted = not getattr(getattr(model, "config", None), "is_encoder_decoder", False)
        hearing = self._hearing
        return answer_facts(hearing.inputs, hearing.output, self.words(given), shifted=shifted)


class SharedAttentionLoggerCallback(StrategicCallback):
    """Section *Shared attention*: text→audio and audio→text share and entropy per layer, on four fixed samples."""

    title = "Shared attention"

    def facts(self, model: nn.Module, step: int, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Measured with eager attention, outside the step."""
        layers = attention(model, self._hearing.fixed, self.words(given))
        return {f"layer {number}": layer for number, layer in enumerate(layers)}


class ZeroShotVerificationLoggerCallback(StrategicCallback):
    """Section *Zero-shot verification*: does swapping or muting the reference change the answer?"""

    title = "Zero-shot verification"

    def facts(self, model: nn.Module, step: int, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Measured on four fixed samples, outside the step."""
        return reference(model, self._hearing.fixed, self.words(given))


LOGGERS: Final = (
    InputLoggerCallback,
    OutputLoggerCallback,
    SharedAttentionLoggerCallback,
    ZeroShotVerificationLoggerCallback,
)


@dataclasses.dataclass
class StrategicLoggingArguments:
    """`--enable_strategic_logging --strategic_logging_steps N`, for `HfArgumentParser` and for `parse`."""

    enable_strategic_logging: bool = dataclasses.field(
        default=False, metadata={"help": "show what goes in and what comes out"}
    )
    strategic_logging_steps: int = dataclasses.field(
        default=EVERY_STEPS, metadata={"help": "steps between strategic logs"}
    )

    @classmethod
    def parse(cls, argv: Sequence[str]) -> "tuple[StrategicLoggingArguments, list[str]]":
        """Take our flags out of a command line; the rest is the script's own."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--enable_strategic_logging", action="store_true")
        parser.add_argument("--strategic_logging_steps", type=int, default=EVERY_STEPS, metavar="N")
        found, rest = parser.parse_known_args(argv)
        return cls(**vars(found)), rest

    def callbacks(self, **options: Any) -> list[StrategicCallback]:
        """The four loggers when asked for, else none. Raises ValueError for steps below 1."""
        if not self.enable_strategic_logging:
            return []
        return strategic_callbacks(self.strategic_logging_steps, **options)


def strategic_callbacks(every_steps: int = EVERY_STEPS, **options: Any) -> list[StrategicCallback]:
    """All four. `options` as of `StrategicCallback`. Raises ValueError for steps below 1."""
    return [logger(every_steps, **options) for logger in LOGGERS]


def _nothing(*arguments: Any, **given: Any) -> None:
    """An event that nobody here needs."""


def _emit(event: Event, fields: Mapping[str, Any]) -> None:
    """One JSON line in `<run>/events.jsonl`; without a run directory the tree on stdout is all there is."""
    run_dir = os.environ.get(env.RUN_DIR)
    if not run_dir:
        return
    path = Path(run_dir) / paths.EVENTS
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            EventLog("trainer", stream, time.time, rank=0).emit(event, **fields)
    except OSError as error:
        sys.stderr.write(f"strategic log: {path} can't be written ({error})\n")


def _received(given: Mapping[str, Any]) -> dict[str, Any]:
    loader = given.get("train_dataloader")
    dataset: Any = getattr(loader, "dataset", None)
    processing = given.get("processing_class", given.get("tokenizer"))
    return {
        "samples": len(dataset) if hasattr(dataset, "__len__") else "not known beforehand",
        "decoded with": "nothing" if processing is None else type(processing).__name__,
    }


def _batch(tensors: Mapping[str, Tensor]) -> int:
    return next((value.size(0) for value in tensors.values() if value.ndim), 0)


def _field(value: Tensor) -> dict[str, Any]:
    size = " × ".join(map(str, value.shape))
    shown: dict[str, Any] = {"shape": size, "type": str(value.dtype).removeprefix("torch.")}
    if value.is_floating_point():
        return shown | statistics(value)
    whole = value.detach()
    return shown | ({"from": int(whole.min()), "to": int(whole.max())} if whole.numel() else {})


def _sample(tensors: Mapping[str, Tensor], words: Words, index: int) -> dict[str, Any]:
    """Text fields decoded; anything else is audio's or the model's business and stays numbers."""
    shown: dict[str, Any] = {}
    for name in _TEXT_FIELDS:
        value = tensors.get(name)
        if value is None or value.ndim != 2 or value.is_floating_point():
            continue
        ids = value[index].tolist()
        shown[name] = {
            "decoded": words.decode(ids),
            "ids": ends(ids),
            "audio at": words.segments(ids) or "nowhere",
        }
    return shown
