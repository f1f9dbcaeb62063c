"""Which saves of a `custom` script can be trusted: confirmed, or quarantined, by the reports that followed them.

One per attempt, in the master's supervisor. `Judge` shows it every report together with what rule NonFinite counted,
and asks it once the attempt has to end for non-finite steps; `master` asks at the start what the script is to go on
from. The rules are those of our own engine (docs/rollback.md), with two differences: nothing of the script's is
touched, and going back takes a new attempt. What is known lies in the run directory (`saves`), so whoever is killed in
between is followed by an attempt that decides the same.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from speech_contract import paths
from speech_contract.events import Event
from speech_contract.progress import Progress
from speech_contract.reasons import NO_CHECKPOINT
from speech_contract.report import BadStep
from speech_contract.run_config import ResumeFrom, ResumePolicy, RunConfig
from speech_contract.saves import Handed, Resume, Save, Window, joined
from speech_contract.thresholds import HealthMode
from speech_health.samples import StepSample
from speech_telemetry import saves
from speech_telemetry.logs import WARNING, EventLog
from speech_telemetry.saves import Marked

TELL_SAVES = (
    "the script tells of no save; call report.checkpoint(step, path) after each (callbacks do it by themselves), "
    "and the next attempt goes on from the newest confirmed one"
)
TELL_DATA = (
    "the script does not tell what data a step is trained on: report.step(…, window=(first, last))"
)


@dataclasses.dataclass
class _Bad:
    """One bad step, as its reports told it."""

    step: int
    rank: int
    component: str
    count: int  # bad steps that it stands for: a script may report every tenth
    windows: list[Window]


class Marks:
    """`told` says, for people, what may follow an attempt that ends for non-finite steps."""

    def __init__(self, config: RunConfig, log: EventLog) -> None:
        self._config, self._log = config, log
        self._run_dir = Path(os.path.abspath(config.run_dir))  # as scripts tell their paths
        self._limits = config.health.non_finite
        self._judged = config.health.mode is not HealthMode.OFF
        self._handed = Handed()
        self._target: Marked | None = None  # what this attempt was given to go on from
        self.ours: Callable[[], bool] = lambda: True  # whether no newer attempt owns the directory
        self._earlier: list[Marked] = []  # unmarked ones of earlier attempts, up to the target
        self._waiting: list[Marked] = []  # for their finite steps
        self._seen: set[tuple[int, str]] = set()
        self._resumed: int | None = None
        self._known = 0  # bad steps that the rule has counted
        self._row: list[_Bad] = []  # up to the newest report
        self._suspect: list[Window] = []  # a loss shows a NaN gradient one step late
        self._recent: list[_Bad] = []  # within windowSteps of the newest bad one
        self._step = 0
        self._no_window = ""
        self._confirmed: int | None = None
        self._first_bad: _Bad | None = None
        self._back: Marked | None = None
        self._unwritable = ""
        self._never_seen: set[int] = set()  # numbers of saves that were told of and not found
        self._unseen = ""  # the first of them that was due to be confirmed
        self.told = ""

    # ---- the start ----

    def choose(self) -> Handed:
        """What the ranks are to go on from, and what data to pass over."""
        config, before = self._config, self._config.resume_before
        found = [m for m in saves.standing(self._run_dir) if self._usable(m)]
        early = [m for m in found if before is None or m.save.step < before]
        for late in (m for m in found if m not in early):
            self._mark(late, paths.QUARANTINED)
        sure = config.resume_from is ResumeFrom.CONFIRMED
        self._target = next((m for m in reversed(early) if m.confirmed or not sure), None)
        upto = self._target.number if self._target else 0
        self._earlier = [m for m in early if m.number <= upto and not m.confirmed]
        self._confirmed = self._newest_confirmed(upto)
        chosen = self._handed = Handed(self._resume(self._target), saves.skips(self._run_dir))
        if chosen != Handed():
            self._log.emit(
                Event.RESUME_CHOSEN, wanted=config.resume_from, windows=chosen.windows,
                step=self._target.save.step if self._target else None,
                path=chosen.resume.path if chosen.resume else None,
            )  # fmt: skip
        return chosen

    @property
    def refusal(self) -> str:
        """Why this attempt can't start: it has to go back, and what it was to go back to is gone."""
        if self._config.resume_from is not ResumeFrom.CONFIRMED or self._target is not None:
            return ""
        return f"{NO_CHECKPOINT} is left in {self._run_dir / paths.MARKS}: {self._why_none()}"

    def _usable(self, marked: Marked) -> bool:
        ours = (
            self._config.checkpoint.resume is ResumePolicy.AUTO
            or marked.save.uid == self._config.uid
        )
        return ours and not marked.quarantined

    def _resume(self, target: Marked | None) -> Resume | None:
        if target is None:
            return None
        place = saves.located(self._run_dir, target.save)
        return Resume(target.save.step, "" if place is None else str(place))

    # ---- every report ----

    def take(self, sample: StepSample, bad_steps: int, *, leads: bool) -> None:
        """One report; `bad_steps`: what the rule has counted up to it, `leads`: of the rank that speaks for the job."""
        self._step = max(self._step, sample.step)
        self._hear_no_window(sample.no_window)
        self._follow(sample.resumed_from_step)
        fresh, self._known = max(0, bad_steps - self._known), bad_steps
        if fresh:
            self._take_bad(sample, fresh if leads else 0)
        elif leads and _sound(sample):
            self._take_sound(sample)
        if leads and sample.last_checkpoint_step is not None:
            self._take_save(sample.last_checkpoint_step, sample.checkpoint_path)

    def _hear_no_window(self, why: str) -> None:
        if not why or why == self._no_window:
            return
        self._no_window = why
        if self._handed.windows:
            self._log.emit(Event.WINDOWS_KEPT, WARNING, windows=self._handed.windows, reason=why)

    def _follow(self, step: int | None) -> None:
        """The script says where it went on from: steps of this attempt count for what it was given, or for nothing."""
        if step is None or self._resumed is not None:
            return
        self._resumed = step
        given = self._target.save.step if self._target else None
        if step == given:
            self._waiting += self._earlier
        elif given is not None or any(m.save.step == step for m in saves.records(self._run_dir)):
            self._log.emit(Event.RESUMED_OTHERWISE, WARNING, step=step, given=given)

    def _take_bad(self, sample: StepSample, count: int) -> None:
        step = sample.step if sample.bad_step is None else sample.bad_step
        known = next((bad for bad in self._row if bad.step == step), None)
        if known is None:
            before = [] if self._row else self._suspect
            known = _Bad(step, sample.rank, sample.bad_loss or sample.bad_component, 0, before)
            self._row.append(known)
            oldest = step - self._limits.window_steps
            self._recent = [bad for bad in self._recent if bad.step > oldest] + [known]
        known.count += count
        if sample.window is not None:
            known.windows.append(sample.window)
        waiting, self._waiting = self._waiting, []
        for marked in waiting:
            self._mark(marked, paths.QUARANTINED)

    def _take_sound(self, sample: StepSample) -> None:
        step, unsure = sample.step, sample.gradient_norm is None
        if self.told or any(bad.step == step for bad in self._row):
            return  # it is over, or another rank had it
        self._row = []
        self._suspect = [sample.window] if unsure and sample.window is not None else []
        waiting, self._waiting = self._waiting, []
        for marked in waiting:
            if not self._judged or step - marked.save.step < self._limits.confirm_steps:
                self._waiting.append(marked)
            elif not self._sees(marked):
                self._miss(marked)
            elif self._mark(marked, paths.CONFIRMED):
                self._confirmed = self._newest_confirmed(marked.number)

    def _sees(self, marked: Marked) -> bool:
        """Whether a save is or was where the script said: what was rotated away since has been sound all the same."""
        if saves.is_there(self._run_dir, marked.save):
            self._never_seen.discard(marked.number)
        return marked.number not in self._never_seen

    def _miss(self, marked: Marked) -> None:
        """It would be confirmed by now, and this pod has never seen it. Said once."""
        if not self._unseen:
            self._log.emit(
                Event.CHECKPOINT_UNSEEN, WARNING, step=marked.save.step, path=marked.save.path
            )
        self._unseen = self._unseen or str(marked.save)

    def _take_save(self, step: int, path: str) -> None:
        if (step, path) in self._seen:
            return  # told again
        self._seen.add((step, path))
        kept = saves.kept_path(self._run_dir, path)
        save = Save(step, kept, self._config.attempt, self._config.uid)
        written: list[Marked] = []
        if not self._try(lambda: written.append(saves.add(self._run_dir, save))):
            return
        self._log.emit(Event.CHECKPOINT_SAVED, step=step, path=path or None)
        if not saves.is_there(self._run_dir, save):  # a volume may show it later
            self._never_seen.add(written[0].number)
        self._waiting = [m for m in self._waiting if m.save.place != save.place]
        if self._row or self.told:
            self._mark(written[0], paths.QUARANTINED)
        else:
            self._waiting += written
        self._confirmed = self._newest_confirmed(written[0].number)  # it may lie over that one

    # ---- the end ----

    def go_back(self, since: int | None, cause: str) -> None:
        """The attempt ends with exit code 40: settle for good what the next one goes back to and passes over.

        `since`: the first step that another rule than NonFinite blames. Calls after the first change nothing.
        """
        if self.told:
            return
        first = since if since is not None else self._blame()
        standing = saves.standing(self._run_dir)
        for marked in standing:
            if first is not None and marked.save.step >= first and not marked.quarantined:
                self._mark(marked, paths.QUARANTINED)
        fit = [m for m in standing if self._usable(m) and m.confirmed]
        self._back = next((m for m in reversed(fit) if first is None or m.save.step < first), None)
        self._confirmed = self._back.save.step if self._back else None
        self.told = (
            self._pass_over(cause)
            if self._back
            else f"{NO_CHECKPOINT} to go back to: {self._why_none()}"
        )

    def _blame(self) -> int | None:
        """The first bad step that counts, as `speech_trainer.engine.budget` finds it: of the row, or of the window."""
        in_row = sum(bad.count for bad in self._row) > self._limits.skip_budget
        blamed = self._row if in_row else self._recent
        self._first_bad = blamed[0] if blamed else None
        return self._first_bad.step if self._first_bad else None

    def _pass_over(self, cause: str) -> str:
        assert self._back is not None
        back, first = self._back.save, self._first_bad
        said = f"can go back to {back}"
        blamed = [bad for bad in self._recent if first is not None and bad.step >= first.step]
        windows = joined(window for bad in blamed for window in bad.windows)
        if not windows:
            why = self._no_window or TELL_DATA
            return f"{said}, past no data: {why}" if blamed else said
        attempt, left = self._config.attempt, self._step
        if not self._try(
            lambda: saves.write_skips(self._run_dir, attempt, windows, left, back.step, cause)
        ):
            return f"{said}, past no data: {self._unwritable}"
        return f"{said}, past the data at {_spans(windows)}"

    def _why_none(self) -> str:
        """Of all that may be the matter what is nearest."""
        if self._unwritable:
            return self._unwritable
        known = saves.records(self._run_dir)
        if not known:
            return TELL_SAVES
        places = {marked.save.place for marked in known}
        there = saves.standing(self._run_dir)
        gone = [marked for marked in known if marked.trusted and marked not in there]
        if len(known) > 1 and len(places) == 1:
            shown = known[-1].save.shown
            return f"every save writes over the one before ({shown}); keep two or more"
        if gone:
            lost = f"{gone[-1].save} was confirmed, and is gone or written over"
            return f"{lost}; keep more checkpoints (save_total_limit)"
        if self._unseen:
            return (
                f"{self._unseen} is not where the script said, as far as the master's pod sees; save below "
                "checkpoint.uri, or on a volume that this pod mounts too"
            )
        need = self._limits.confirm_steps
        return (
            f"{known[-1].save} was saved, and is confirmed only after {need} finite steps "
            "(health.nonFinite.confirmSteps)"
        )

    # ---- what it is for ----

    def shown(self, progress: Progress) -> Progress:
        """`progress` with what is known here. What a script tells by itself stands: one on our engine knows more."""
        bad, back = self._first_bad, self._back
        own = BadStep(bad.step, bad.component, rank=bad.rank) if bad else None
        left = max(0, self._step - back.save.step) if back else 0
        told = progress.last_confirmed_step
        return dataclasses.replace(
            progress,
            last_confirmed_step=self._confirmed if told is None else told,
            resume_note=progress.resume_note or self._note(),
            first_bad=progress.first_bad or own,
            discarded_steps=progress.discarded_steps or left,
        )

    def _note(self) -> str:
        """What this attempt was given; whether the script heeds it is its own matter."""
        given, windows = self._target, self._handed.windows
        said = [f"was given {given.save} to go on from"] if given else []
        said += [f"and the data at {_spans(windows)} to pass over"] if windows else []
        note = " ".join(said)
        unseen = f"{self._unseen} is not seen from the master's pod, so it is not confirmed"
        return "; ".join(filter(None, (note, unseen if self._unseen else "")))

    def _newest_confirmed(self, upto: int) -> int | None:
        steps = [
            m.save.step for m in saves.standing(self._run_dir) if m.trusted and m.number <= upto
        ]
        return steps[-1] if steps else None

    def _mark(self, marked: Marked, name: str) -> bool:
        if not self._try(lambda: saves.mark(self._run_dir, marked, name)):
            return False
        bad = name == paths.QUARANTINED
        event = Event.CHECKPOINT_QUARANTINED if bad else Event.CHECKPOINT_CONFIRMED
        self._log.emit(event, step=marked.save.step, path=marked.save.path or None)
        return True

    def _try(self, act: Callable[[], object]) -> bool:
        """A directory that nothing can be written to costs the marks, never the run; so does a lost one."""
        if not self.ours():
            return False
        try:
            act()
        except OSError as error:
            if not self._unwritable:
                self._log.emit(Event.MARKS_UNWRITABLE, WARNING, error=str(error))
            self._unwritable = f"marks can't be written ({error}); make checkpoint.uri writable"
            return False
        return True


def _spans(windows: tuple[Window, ...]) -> str:
    return ", ".join(f"{first} to {last - 1}" for first, last in windows)


def _sound(sample: StepSample) -> bool:
    """It shows that training is finite; a gradient that is not may be a loss scaler's overflow, and shows nothing."""
    shows = sample.losses is not None or sample.gradient_norm is not None
    return shows and not sample.bad_gradient
