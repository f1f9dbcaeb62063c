"""The resumable training stream: batches of one rank, bad samples replaced, counted and listed.

Called by the engine through `DataStream`. What a batch holds depends on seed and position alone; worker
threads only read ahead. Counts, log lines and `quarantine.jsonl` are written when a batch is delivered, so
that reading ahead never counts twice.
"""

import itertools
import json
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from speech_contract.events import MESSAGES, Event
from speech_contract.result import BadSample
from speech_trainer.data.errors import SampleError
from speech_trainer.data.manifest import Utterance
from speech_trainer.data.padding import TokenBudget, deal
from speech_trainer.data.sampler import Draw, Sampler, Window
from speech_trainer.errors import DataError

B = TypeVar("B")
S = TypeVar("S")
Load = Callable[[int, int], S]  # index, global position → sample; raises SampleError
Collate = Callable[[list[S]], B]  # [] → a stand-in with weight 0

LOGGED_WITH_TRACEBACK: Final = 10
_MAX_REPLACEMENTS: Final = 8  # tries per bad sample before its place stays empty
_READ_AHEAD: Final = 2  # batches

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Skip:
    """One sample that could not be used: where it was drawn, its index, and why."""

    position: int
    index: int
    error: SampleError


@dataclass(frozen=True)
class Place:
    """This rank's part of the world, and how many samples it takes through the model at once (None: its share)."""

    rank: int = 0
    world_size: int = 1
    micro_batch_size: int | None = None


@dataclass(frozen=True)
class _Loaded(Generic[B]):
    """One step of this rank."""

    batches: list[B]
    skips: list[Skip]


class TrainingStream(Generic[B]):
    """`engine.recipe.DataStream` over a sampler, a sample loader and a recipe's collate.

    `budget`: micro-batches are cut by padded length instead of into equal numbers of samples, and a step has as many
    as it needs. A bad sample is then replaced by one that fits in its place.
    """

    def __init__(
        self,
        sampler: Sampler,
        load: Load[S],
        collate: Collate[S, B],
        place: Place,
        on_skip: Callable[[Skip], None],
        budget: TokenBudget | None = None,
    ) -> None:
        self._sampler, self._budget = sampler, budget
        self._load: Load[Any] = load
        self._collate: Collate[Any, B] = collate
        self._place = place
        self._on_skip = on_skip
        self._windows: list[Window] = []
        self._position = 0
        self._skipped: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader")
        self._ahead: deque[tuple[Draw, Future[_Loaded[B]]]] = deque()
        self._step: deque[B] = deque()  # micro-batches of this step that are still to be delivered

    @property
    def micro_batches(self) -> int:
        """Batches that each rank takes in the next step: as many as the largest share needs."""
        if self._budget is None:
            return micro_batches(self._sampler.batch_size, self._place)
        self._read_ahead()
        return len(self._ahead[0][1].result().batches)

    @property
    def step_count(self) -> int | None:
        """Not certain: a place stays empty where no replacement could be read."""
        return None

    @property
    def position(self) -> int:
        """Global sampler position after the step whose batches are being delivered."""
        return self._position

    @property
    def skipped(self) -> dict[str, int]:
        """Replaced samples of this rank so far, by reason."""
        return dict(self._skipped)

    def next_batch(self) -> B:
        """The next micro-batch of this rank; waits for the reader thread when it is not ready."""
        if not self._step:
            self._next_step()
        return self._step.popleft()

    def _next_step(self) -> None:
        self._read_ahead()
        draw, future = self._ahead.popleft()
        loaded = future.result()
        self._position = draw.next_position
        for skip in loaded.skips:
            self._skipped[skip.error.reason] += 1
            self._on_skip(skip)
        self._read_ahead()
        self._step.extend(loaded.batches)

    def skip(self, windows: Sequence[Window]) -> None:
        """Pass over these windows [first, last) of global positions from now on."""
        self._windows.extend((int(first), int(last)) for first, last in windows)
        self._forget_ahead()

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is: JSON values, the same on every rank."""
        return {"position": self._position, "size": self._sampler.size}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`. Raises: DataError when the data set has another size now."""
        if state["size"] != self._sampler.size:
            rule = f"lines were trained on so far, the manifest now gives {self._sampler.size}"
            remedy = "restore the manifest, or start a new run directory (checkpoint.uri)"
            raise DataError(f"data.train: {state['size']} {rule}; {remedy}")
        self._position = int(state["position"])
        self._forget_ahead()

    def close(self) -> None:
        """Stop the reader thread."""
        self._forget_ahead()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _read_ahead(self) -> None:
        while len(self._ahead) < _READ_AHEAD:
            start = self._ahead[-1][0].next_position if self._ahead else self._position
            draw = self._sampler.draw(start, self._windows)
            self._ahead.append((draw, self._pool.submit(self._load_batch, draw)))

    def _forget_ahead(self) -> None:
        for _, future in self._ahead:
            future.cancel()
        self._ahead.clear()
        self._step.clear()

    def _load_batch(self, draw: Draw) -> _Loaded[B]:
        skips: list[Skip] = []
        batches: list[B] = []
        for positions in self._shares(draw):
            longest = max(map(self._length, positions), default=0)
            found = [self._load_or_replace(position, longest, skips) for position in positions]
            batches.append(self._collate([sample for sample in found if sample is not None]))
        return _Loaded(batches, skips)

    def _shares(self, draw: Draw) -> list[Sequence[int]]:
        """Positions of each micro-batch of this rank."""
        place, positions = self._place, draw.positions
        if self._budget is None:
            count = micro_batches(self._sampler.batch_size, place)
            return cut(rank_slice(positions, place), count)
        lengths = [self._length(position) for position in positions]
        dealt = deal(lengths, self._budget.most, place.world_size, place.micro_batch_size)
        return [[positions[number] for number in part] for part in dealt[place.rank]]

    def _length(self, position: int) -> int:
        """In tokens; 0 where nobody counts them."""
        return self._budget.lengths[self._sampler.index(position)] if self._budget else 0

    def _load_or_replace(self, position: int, longest: int, skips: list[Skip]) -> Any:
        """What `load` gave for this place or for another one; None when all were bad."""
        index = self._sampler.index(position)
        for attempt in range(1 + _MAX_REPLACEMENTS):
            try:
                return self._load(index, position)
            except SampleError as error:
                skips.append(Skip(position, index, error))
                index = self._sampler.replacement(position, attempt)
                if self._budget is not None:
                    index = self._budget.stand_in(index, longest)
        return None


def rank_slice(positions: Sequence[int], place: Place) -> Sequence[int]:
    """The part of a global batch that one rank trains on: contiguous; the first ranks may take one more."""
    return cut(positions, place.world_size)[place.rank]


def micro_batches(batch_size: int, place: Place) -> int:
    """How often each rank goes through the model a step: as often as the largest share needs, for all ranks alike."""
    share = -(-batch_size // place.world_size)
    return -(-share // (place.micro_batch_size or share))


def cut(positions: Sequence[int], parts: int) -> list[Sequence[int]]:
    """In order, into parts that differ by one at most, the longer ones first: 10 in 3 → 4, 3, 3."""
    size, longer = divmod(len(positions), parts)
    ends = [number * size + min(number, longer) for number in range(parts + 1)]
    return [positions[first:last] for first, last in itertools.pairwise(ends)]


class Quarantine:
    """Lists bad samples in `quarantine.jsonl`, each once, and logs the first few in full."""

    def __init__(self, path: Path, utterances: Sequence[Utterance]) -> None:
        self._path = path
        self._utterances = utterances
        self._listed: set[int] = set()
        self._logged = 0

    def __call__(self, skip: Skip) -> None:
        """Record one skip; a file that can't be written is a warning, never a crash."""
        if skip.index in self._listed:
            return
        self._listed.add(skip.index)
        record = self._record(skip).row()
        if self._logged < LOGGED_WITH_TRACEBACK:
            self._logged += 1
            logger.warning(
                MESSAGES[Event.SAMPLE_REPLACED],
                exc_info=skip.error,
                extra={"event": Event.SAMPLE_REPLACED.value, **record},
            )
        self._append(record)

    def _record(self, skip: Skip) -> BadSample:
        utterance = self._utterances[skip.index]
        return BadSample(
            reason=skip.error.reason,
            audio_filepath=utterance.audio_filepath,
            message_text=str(skip.error),
            line=utterance.line,
            position=skip.position,
        )

    def _append(self, record: Mapping[str, Any]) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        except OSError as error:
            logger.warning(
                MESSAGES[Event.REPORT_FAILED],
                extra={"event": Event.REPORT_FAILED.value, "path": str(self._path)},
                exc_info=error,
            )
