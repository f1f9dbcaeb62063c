"""The rank's side of telemetry: tells the supervisor where this rank is. Standard library only.

Called by the engine (`send`, `stamp`) and by anyone's training loop, in three lines:

    from speech_telemetry.reporter import Reporter
    report = Reporter()                  # socket from SPEECHTRAIN_SOCKET; does nothing when absent
    report.step(step, loss=loss, grad_norm=norm, learning_rate=lr, skipped={"DecodeError": 1})

and, where there is more to say, `plan`, `components=`, `evaluation`, `checkpoint` and `phase`. A script that saves by
itself is told, and asked in turn, what to go on from after a NaN: `resume_from`, `skip_windows`.

Nothing here blocks a step and nothing here raises into training: what can't be sent is counted in `dropped` and the
count travels with the next datagram. Files beside the socket, named by rank, let the supervisor look at a rank
that hangs: the phase record, and the stack file into which SIGUSR1 prints every thread's Python stack.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import json
import mmap
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from speech_contract import codec, env
from speech_contract.phases import PHASES, Phase
from speech_contract.report import Codebook, Plan, Weights
from speech_contract.saves import Resume, Window, handed
from speech_contract.scores import ScoreSpec
from speech_contract.wire import DATAGRAM_LIMIT, PHASE_RECORD, Datagram
from speech_telemetry.outbox import Outbox

RANK_PLACEHOLDER = "{rank}"  # in SPEECHTRAIN_PHASE_FILE when one command starts several ranks
STACK_SUFFIX = ".stack"
STACK_SIGNAL = signal.SIGUSR1
_FIELDS = tuple((field.name, codec.camel(field.name)) for field in dataclasses.fields(Datagram))
_INDEX = {phase: index for index, phase in enumerate(PHASES)}


def stack_file(directory: Path, rank: int, pid: int) -> Path:
    """Where the process `pid` prints its Python stacks on STACK_SIGNAL. It exists once that is safe to send."""
    return directory / f"rank-{rank}.{pid}{STACK_SUFFIX}"


class Reporter:
    """One per rank and process. Every method returns at once, with or without a supervisor."""

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        environ = os.environ if environ is None else environ
        self.rank = _whole(environ.get(env.RANK), 0)
        self.dropped = 0
        self._clock = clock
        self._monotonic = monotonic
        self._address = environ.get(env.SOCKET, "")
        self._handed = handed(environ)
        self._saved: dict[str, Any] = {}  # the newest checkpoint, until a step has told it again
        self._skipped: dict[str, int] = {}
        self._samples = 0
        self._audio_seconds = 0.0
        self._step = 0
        self._phase = Phase.STARTING
        self._outbox = self._open_outbox()
        self._record = self._open_record(environ.get(env.PHASE_FILE, ""))
        self._stacks = self._register_stacks()
        self.stamp(0, Phase.STARTING)

    @property
    def connected(self) -> bool:
        """Whether a supervisor gave us an address."""
        return self._outbox is not None

    def step(
        self,
        step: int,
        *,
        loss: Any = None,
        components: Mapping[str, Any] | None = None,
        grad_norm: Any = None,
        learning_rate: Any = None,
        skipped: Mapping[str, int] | None = None,
        planned_learning_rate: Any = None,
        codebooks: Mapping[str, Mapping[str, Any]] | None = None,
        samples: int = 0,
        audio_seconds: float = 0.0,
        updates: int | None = None,
        window: Window | None = None,
    ) -> None:
        """Report one step. Numbers may be anything `float()` takes, tensors too.

        `loss` is the whole, `components` are its parts by name, each judged by itself. `skipped` holds the samples left
        out *since the last call*, by reason; `samples` and `audio_seconds` what was trained on since then. The reporter
        adds them up. `codebooks`: name → any of the fields of `speech_contract.report.Codebook`. `updates`: optimizer
        steps so far, where they are not the steps. `window`: positions [first, last) of the data that was trained on
        since the last call, over all ranks, counted in samples or batches as you like, in an order that is the same
        in every attempt: after a NaN it is what `skip_windows` gives.
        """
        if self._outbox is None:
            return
        try:
            self._samples += int(samples)
            self._audio_seconds += float(audio_seconds)
            numbers = {
                "gradient_norm": _real(grad_norm),
                "learning_rate": _real(learning_rate),
                "planned_rate": _real(planned_learning_rate),
                "updates": None if updates is None else int(updates),
                "window": None if window is None else (int(window[0]), int(window[1])),
                **self._saved,
            }
            self._saved = {}
            self._report(step, _losses(loss, components), skipped, numbers, _books(codebooks))
        except Exception:
            # A foreign object's float() may raise anything; training goes on, counted.
            self.dropped += 1

    def phase(self, phase: Phase | str) -> None:
        """Enter a phase ("Evaluation", "Checkpoint", …): its pause is then no stall. Unknown names count as dropped."""
        try:
            known = Phase(phase)
        except ValueError:
            self.dropped += 1
            return
        self.stamp(self._step, known)
        self.send(Datagram(self.rank, self._step, self._clock(), known, skipped=self._counts()))

    def plan(self, **facts: Any) -> None:
        """Say once what the run intends: the fields of `speech_contract.report.Plan`, all optional.

        `total_steps` also gives the progress its end, `rate_sum` (the learning rates of all steps, added up; of Adam
        and its kin) is what a rate too small is known by.
        """
        self._tell(lambda: {"plan": Plan(**facts), "total_steps": facts.get("total_steps")})

    def evaluation(
        self,
        scores: Mapping[str, Any],
        specs: Mapping[str, ScoreSpec | Mapping[str, Any]] | None = None,
    ) -> None:
        """Report held-out scores, by name, in the phase Evaluation; `phase` or `step` ends it.

        `specs`: how to read them, where a name does not say it: score → any of the fields of
        `speech_contract.scores.ScoreSpec`, as in {"cer": {"better": "Lower", "unit": "%"}}.
        """
        self._tell(
            lambda: {
                "phase": Phase.EVALUATION,
                "evaluation": {str(name): float(value) for name, value in scores.items()},
                "score_specs": _specs(specs),
            }
        )

    def checkpoint(
        self, step: int | None = None, path: str | os.PathLike[str] | None = None
    ) -> None:
        """Say that a checkpoint is on the disk, whole: that of `step`, or of the step reported last, at `path`.

        On one rank, after every save: of these a NaN goes back to the newest confirmed one. In the phase Checkpoint;
        `phase` or `step` ends it.
        """

        def facts() -> dict[str, Any]:
            saved = {"last_checkpoint_step": self._step if step is None else int(step)}
            where = {} if path is None else {"checkpoint_path": os.path.abspath(path)}
            self._saved = {**saved, **where}  # told twice: a datagram may be lost
            return {"phase": Phase.CHECKPOINT, **self._saved}

        self._tell(facts)

    def resume_from(self) -> Resume | None:
        """The checkpoint to go on from, `.step` and `.path`, of those that `checkpoint` told of; None: from scratch.

        Never one after which a NaN came before it was confirmed. Say `resumed(step)` once it is loaded.
        """
        return self._handed.resume

    def skip_windows(self) -> list[Window]:
        """Positions of data [first, last) to pass over, rising: what a NaN was trained on, as `step` told it."""
        return list(self._handed.windows)

    def skips(self, position: int) -> bool:
        """Whether this position of the data is to be passed over."""
        return any(first <= position < last for first, last in self._handed.windows)

    def resumed(self, step: int) -> None:
        """Say once, before the first step, that the run goes on from the checkpoint of `step`."""
        self._tell(lambda: {"resumed_from_step": int(step)})

    def weights(
        self,
        since: int,
        updates: int,
        unchanged: Mapping[str, float],
        movement: Mapping[str, float] | None = None,
    ) -> None:
        """Report how the weights differ from those of step `since`, `updates` updates ago, by module.

        `unchanged`: share of bit-identical weights; `movement`: norm of the difference over the norm before.
        """
        self._tell(
            lambda: {
                "weights": Weights(
                    self._step,
                    int(since),
                    int(updates),
                    {str(name): float(share) for name, share in unchanged.items()},
                    {str(name): float(share) for name, share in (movement or {}).items()},
                )
            }
        )

    def stamp(self, step: int, phase: Phase) -> None:
        """Write (step, phase, now) into the rank's phase record; about a microsecond, no system call."""
        self._step, self._phase = step, phase
        if self._record is not None:
            PHASE_RECORD.pack_into(self._record, 0, step, _INDEX[phase], self._monotonic())

    def send(self, datagram: Datagram) -> None:
        """Send one datagram without blocking; it may wait for the next call, or for the end of the process."""
        if self._outbox is None:
            return
        try:
            payload = _encode(datagram, self.dropped)
            if len(payload) > DATAGRAM_LIMIT:
                self.dropped += 1
                return
            self.dropped += self._outbox.send(payload)
        except (TypeError, ValueError):
            self.dropped += 1

    def close(self) -> None:
        """Give back the socket and the files; later calls do nothing."""
        if self._stacks is not None:
            faulthandler.unregister(STACK_SIGNAL)
            signal.signal(STACK_SIGNAL, signal.SIG_IGN)  # a late request must not kill the rank
            self._stacks.close()
            self._stacks = None
        if self._record is not None:
            self._record.close()
            self._record = None
        if self._outbox is not None:
            self._outbox.close()
            self._outbox = None

    def _report(
        self,
        step: Any,
        losses: dict[str, float] | None,
        skipped: Mapping[str, int] | None,
        numbers: dict[str, Any],
        codebooks: dict[str, Codebook] | None,
    ) -> None:
        for reason, count in (skipped or {}).items():
            self._skipped[str(reason)] = self._skipped.get(str(reason), 0) + int(count)
        self.stamp(int(step), Phase.TRAINING)
        self.send(
            Datagram(
                rank=self.rank,
                step=int(step),
                time=self._clock(),
                losses=losses,
                skipped=self._counts(),
                codebooks=codebooks,
                samples_total=self._samples or None,
                audio_seconds_total=self._audio_seconds or None,
                **numbers,
            )
        )

    def _tell(self, facts: Callable[[], dict[str, Any]]) -> None:
        """A report of its own between steps; a script's mistake is counted, never raised."""
        if self._outbox is None:
            return
        try:
            told = {"phase": self._phase, **facts()}
            if told["phase"] is not self._phase:
                self.stamp(self._step, told["phase"])
            self.send(Datagram(self.rank, self._step, self._clock(), **told))
        except Exception:
            self.dropped += 1

    def _counts(self) -> dict[str, int] | None:
        return dict(self._skipped) if self._skipped else None

    def _open_outbox(self) -> Outbox | None:
        if not self._address:
            return None
        try:
            return Outbox(self._address)
        except OSError:
            self.dropped += 1
            return None

    def _open_record(self, pattern: str) -> mmap.mmap | None:
        if not pattern:
            return None
        path = pattern.replace(RANK_PLACEHOLDER, str(self.rank))
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(descriptor, PHASE_RECORD.size)
                return mmap.mmap(descriptor, PHASE_RECORD.size)
            finally:
                os.close(descriptor)
        except OSError:
            self.dropped += 1
            return None

    def _register_stacks(self) -> TextIO | None:
        if self._outbox is None:
            return None
        path = stack_file(Path(self._address).parent, self.rank, os.getpid())
        partial = path.with_suffix(".partial")
        try:
            stream = open(partial, "w", encoding="utf-8")
            faulthandler.register(STACK_SIGNAL, file=stream, all_threads=True)
            os.rename(partial, path)  # only now may the supervisor send the signal
        except (OSError, ValueError, RuntimeError):
            self.dropped += 1
            return None
        return stream


def _encode(datagram: Datagram, dropped: int) -> bytes:
    """What `codec.dumps` gives, ten times as fast, while every number is finite: this runs at every step."""
    pairs = ((key, getattr(datagram, name)) for name, key in _FIELDS)
    document = {key: value for key, value in pairs if value is not None}
    document["dropped"] = dropped
    try:
        return json.dumps(
            document, allow_nan=False, separators=(",", ":"), default=codec.to_document
        ).encode()  # `default`: records within the record
    except ValueError:  # NaN and Inf travel as strings
        return codec.dumps(dataclasses.replace(datagram, dropped=dropped)).encode()


def _real(value: Any) -> float | None:
    return None if value is None else float(value)


def _losses(whole: Any, components: Mapping[str, Any] | None) -> dict[str, float] | None:
    """The whole first: it is the headline, whatever a component is called."""
    losses = {} if whole is None else {"loss": float(whole)}
    for name, value in (components or {}).items():
        losses.setdefault(str(name), float(value))
    return losses or None


def _specs(
    specs: Mapping[str, ScoreSpec | Mapping[str, Any]] | None,
) -> dict[str, ScoreSpec] | None:
    """Raises ContractError, which the caller counts, for what no score can be."""
    if specs is None:
        return None
    return {
        str(name): spec if isinstance(spec, ScoreSpec) else codec.from_document(ScoreSpec, spec)
        for name, spec in specs.items()
    }


_COUNTS = ("size", "age")  # whole numbers of a codebook


def _books(books: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Codebook] | None:
    """Raises what a script's values raise; the caller counts it."""
    if books is None:
        return None
    return {
        str(name): Codebook(
            **{key: int(value) if key in _COUNTS else _real(value) for key, value in values.items()}  # type: ignore[arg-type]
        )
        for name, values in books.items()
    }


def _whole(text: str | None, default: int) -> int:
    try:
        return int(text) if text else default
    except ValueError:
        return default
