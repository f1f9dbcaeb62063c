"""Saving, confirming, restoring: the checkpoint store as all ranks use it together.

`engine.loop` calls `open`, `restore`, `save`, `observe` (the agreed flags of each step) and `retreat`. Rank 0 alone
decides, commits and marks; who writes and reads tensors is the layout's. Between two conversations of the ranks each
of them does its own part and nothing else, so a failure of one is an error of all, and nobody is left waiting.

A save that fails while an earlier checkpoint is committed is shown loudly and training goes on: nothing that was
saved is lost, and the next save may find room. The first one, and the one that an interrupt asked for, must work.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from safetensors import SafetensorError

from speech_contract import paths
from speech_contract.events import Event
from speech_contract.report import Weights
from speech_contract.run_config import ResumeFrom, RunConfig
from speech_trainer.engine.checkpoints import CheckpointStore, Draft, Saved
from speech_trainer.engine.distributed import World
from speech_trainer.engine.fence import FencedOffError
from speech_trainer.engine.flags import StepFlags, Window
from speech_trainer.engine.layout import TENSORS, Layout, Replicated, size
from speech_trainer.engine.probe import WeightProbe
from speech_trainer.engine.recipe import Built
from speech_trainer.engine.reporting import Reporting
from speech_trainer.engine.state import Tensors
from speech_trainer.errors import CheckpointError, NonFiniteBudgetSpent

WindowsSince = Callable[[int], list[Window]]  # sampler position → bad windows from there on


@dataclasses.dataclass(frozen=True)
class Start:
    """Where an attempt starts: the target to restore (None = from scratch), and what to pass over."""

    target: Saved | None
    skips: list[Window]
    source: str = ""  # the other job that wrote the target


class Saver:
    """One rank's half of the conversation about checkpoints."""

    def __init__(
        self, store: CheckpointStore, world: World, reporting: Reporting, config: RunConfig
    ) -> None:
        self.layout: Layout = Replicated()  # the engine knows it once the recipe has built
        self._store, self._world, self._reporting, self._config = store, world, reporting, config
        self._confirm_steps = config.health.non_finite.confirm_steps
        self._provisional: list[Saved] = []  # rank 0 only: waiting for their finite steps
        self.saved_step: int | None = None
        self.probe: WeightProbe | None = None  # where weights are written

    def open(self) -> Start:
        """Raise the fence and agree on where to start."""
        start = self._world.lead(self._open)
        if start.target is not None:
            self.saved_step = start.target.step
            self._reporting.facts.resumed_from_step = start.target.step
            self._reporting.facts.last_checkpoint_step = start.target.step
        return start

    def _open(self) -> Start:
        config = self._config
        opened = self._store.open_attempt(
            config.attempt,
            config.uid,
            config.resume_from,
            config.checkpoint.resume,
            self._refused,
            config.resume_before,
            f"{config.namespace}/{config.name}",
        )
        if opened.target is None and config.resume_from is ResumeFrom.CONFIRMED:
            raise NonFiniteBudgetSpent(
                f"checkpoint.uri: no confirmed checkpoint is left in {config.run_dir} to go back to after a "
                "health failure; mend the cause and start over with a new checkpoint.uri"
            )
        self._follow(opened.target)
        return Start(opened.target, self._store.fence.skips(), opened.source)

    def _follow(self, target: Saved | None) -> None:
        """Wait again for checkpoints up to the target: a later attempt may confirm an earlier one's."""
        valid = [s for s in self._store.valid() if target is not None and s <= target]
        self._provisional = [s for s in valid if not s.confirmed and not s.quarantined]
        trusted = [s.step for s in valid if s.trusted]
        self._reporting.facts.last_confirmed_step = max(trusted, default=None)

    def _refused(self, name: str, reason: str) -> None:
        self._reporting.event(Event.CHECKPOINT_REFUSED, name=name, reason=reason)
        self._reporting.say(f"checkpoint {name} refused: {reason}")

    def restore(self, saved: Saved, built: Built) -> dict[str, Any]:
        """Load a checkpoint whose digests rank 0 has checked, in place; returns its document.

        Raises CheckpointError on every rank.
        """
        read = self.layout.read
        self._world.each(
            lambda: self._store.read(
                saved, lambda path, files: read(built, path, files, saved.name)
            )
        )
        if self.probe is not None:
            self._rebase(saved, self.layout.collect(built))
        return self._store.document(saved)

    def check_fence(self) -> None:
        """Rank 0, before it writes what is no checkpoint. Raises FencedOffError."""
        self._store.fence.check()

    def save(
        self,
        step: int,
        collect: Callable[[], Tensors],
        document: dict[str, Any],
        *,
        must: bool,
        suspicious: bool,
        before: int | None = None,
    ) -> bool:
        """Save together. `must`: a failure ends the run. `suspicious`: saved amid bad steps, so quarantined at once.

        `before`: a roll-back may have to go back to a checkpoint of an earlier step than this.

        Returns whether it worked. Raises CheckpointError on every rank.
        """
        started = time.monotonic()
        tensors = collect()
        # Before the save, which may drop what it compares with.
        weights = self._compare(step, tensors)
        try:
            draft = self._world.lead(lambda: self._store.begin(step, quarantined=suspicious))
            self._write(draft, tensors)
            saved = self._world.lead(lambda: self._store.commit(draft, document, before))
        except FencedOffError:
            raise
        except CheckpointError as error:
            if must or not self._world.lead(self._any_left):
                raise
            self._took(started)
            self._reporting.event(Event.CHECKPOINT_FAILED, step=step, error=str(error))
            self._reporting.say(f"checkpoint at step {step} failed: {error}")
            return False
        self._tell(saved, self._took(started), weights)
        self._rebase(saved, tensors)
        self.saved_step = step
        self._reporting.facts.last_checkpoint_step = step
        return True

    def _took(self, started: float) -> float:
        """Seconds of a save, which training stood still for whether it worked or not."""
        seconds = round(time.monotonic() - started, 3)
        self._reporting.facts.checkpoint_seconds += seconds
        return seconds

    def _write(self, draft: Draft, tensors: Tensors) -> None:
        """Every rank its part; when one cannot, none is kept."""
        write = self.layout.write
        try:
            self._world.each(
                lambda: self._store.write(
                    draft, lambda folder, files: write(tensors, folder, files), size(tensors)
                )
            )
        except CheckpointError:
            self._world.lead(lambda: self._store.drop(draft))
            raise

    def _any_left(self) -> bool:
        return any(not saved.quarantined for saved in self._store.valid())

    def _tell(self, saved: Saved, seconds: float, weights: Weights | None) -> None:
        """Rank 0 tells, and waits for the steps that confirm it."""
        if not self._world.leads:
            return
        step, path = saved.step, str(self._store.path(saved))
        self._reporting.event(Event.CHECKPOINT_SAVED, step=step, path=path, seconds=seconds)
        if weights is not None:
            self._reporting.attach(weights=weights)
            self._reporting.event(Event.CHECKPOINTS_COMPARED, **dataclasses.asdict(weights))
        if saved.quarantined:
            self._reporting.event(Event.CHECKPOINT_QUARANTINED, step=step, name=saved.name)
        else:
            self._provisional.append(saved)

    def _compare(self, step: int, tensors: Tensors) -> Weights | None:
        if self.probe is None:
            return None
        try:
            return self.probe.compare(step, tensors)
        except (OSError, SafetensorError, KeyError) as error:  # a look at the run must not end it
            self._reporting.event(Event.REPORT_FAILED, step=step, error=repr(error))
            return None

    def _rebase(self, saved: Saved, tensors: Tensors) -> None:
        if self.probe is not None:
            self.probe.keep(tensors)
            self.probe.rebase(saved.step, self._store.path(saved) / TENSORS)

    def observe(self, flags: StepFlags) -> None:
        """Confirm or quarantine what waits, by the agreed flags of one step. Rank 0 acts, the others have none."""
        waiting, self._provisional = self._provisional, []
        for saved in waiting:
            if flags.bad:
                self._mark(saved, paths.QUARANTINED, Event.CHECKPOINT_QUARANTINED)
            elif flags.step - saved.step >= self._confirm_steps:
                self._mark(saved, paths.CONFIRMED, Event.CHECKPOINT_CONFIRMED)
                self._reporting.facts.last_confirmed_step = saved.step
            else:
                self._provisional.append(saved)

    def _mark(self, saved: Saved, mark: str, event: Event) -> None:
        try:
            self._store.mark(saved, mark)
        except FencedOffError:
            raise
        except CheckpointError as error:
            self._reporting.event(Event.CHECKPOINT_FAILED, step=saved.step, error=str(error))
            return
        self._reporting.event(event, step=saved.step, name=saved.name)

    def retreat(self, left: int, first_bad: int, windows_since: WindowsSince, cause: str) -> Start:
        """Leave the bad steps for good: marks, then the windows that no replay of any attempt draws.

        `left`: the step where training is. Returns the confirmed checkpoint to go back to (None: there is none,
        and no window is recorded) and everything to pass over from now on.
        """
        start = self._world.lead(lambda: self._retreat(left, first_bad, windows_since, cause))
        if start.target is not None:
            self.saved_step = start.target.step
            self._reporting.facts.last_checkpoint_step = start.target.step
        return start

    def _retreat(self, left: int, first_bad: int, windows_since: WindowsSince, cause: str) -> Start:
        self._store.fence.check()
        before = {saved.name for saved in self._store.valid() if saved.quarantined}
        target = self._store.retreat(first_bad, self._refused)
        for saved in self._store.valid():
            if saved.quarantined and saved.name not in before:
                self._reporting.event(
                    Event.CHECKPOINT_QUARANTINED, step=saved.step, name=saved.name
                )
        if target is not None:
            windows = windows_since(self._store.position(target))
            self._store.fence.write_skips(left, target.step, windows, cause)
        self._follow(target)
        return Start(target, self._store.fence.skips())
