"""A stream that can be read ahead and put back: the preflight looks at batches that training gets all the same.

Nothing is loaded twice, and no bad sample is counted or listed twice. Made by `preflight.run`; the engine trains
on it as on any `DataStream`.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from speech_trainer.engine.recipe import Batch, DataStream


@dataclasses.dataclass(frozen=True)
class _Moment:
    """The stream after one batch."""

    batch: Batch
    position: int
    skipped: dict[str, int]
    state: dict[str, Any]
    of_step: int  # batches that this rank takes in the step it belongs to


class Rewound:
    """`engine.recipe.DataStream`: first the batches that were peeked at, then the stream's own."""

    def __init__(self, stream: DataStream) -> None:
        self._stream = stream
        self._position, self._skipped = stream.position, stream.skipped
        self._state = stream.state_dict()
        self._ahead: collections.deque[_Moment] = collections.deque()

    def peek_steps(self, least: int) -> list[list[Batch]]:
        """The next whole steps that hold so many batches or more, which stay where they are. Called between steps."""
        while len(self._ahead) < least:
            self._read_step()
        ahead, steps = list(self._ahead), list[list[Batch]]()
        while ahead:
            count = ahead[0].of_step
            steps.append([moment.batch for moment in ahead[:count]])
            ahead = ahead[count:]
        return steps

    def _read_step(self) -> None:
        stream = self._stream
        count = stream.micro_batches
        for _ in range(count):
            batch = stream.next_batch()
            state = stream.state_dict()
            self._ahead.append(_Moment(batch, stream.position, stream.skipped, state, count))

    def next_batch(self) -> Batch:
        """The next batch of this rank."""
        if not self._ahead:
            return self._stream.next_batch()
        moment = self._ahead.popleft()
        self._position, self._skipped, self._state = moment.position, moment.skipped, moment.state
        return moment.batch

    @property
    def micro_batches(self) -> int:
        """Of the next step."""
        return self._ahead[0].of_step if self._ahead else self._stream.micro_batches

    @property
    def step_count(self) -> int | None:
        """As the stream's own."""
        return self._stream.step_count

    @property
    def position(self) -> int:
        """Global sampler position after the last delivered batch."""
        return self._position if self._ahead else self._stream.position

    @property
    def skipped(self) -> dict[str, int]:
        """Replaced samples among the delivered batches."""
        return dict(self._skipped) if self._ahead else self._stream.skipped

    def skip(self, windows: Sequence[tuple[int, int]]) -> None:
        """Pass over these windows: what was read ahead may lie in them, and is drawn anew."""
        if self._ahead:
            self.load_state_dict(self._state)
        self._stream.skip(windows)

    def state_dict(self) -> dict[str, Any]:
        """Where the delivered batches end."""
        return dict(self._state) if self._ahead else self._stream.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self._ahead.clear()
        self._stream.load_state_dict(state)

    def close(self) -> None:
        """Stop workers."""
        self._ahead.clear()
        self._stream.close()
