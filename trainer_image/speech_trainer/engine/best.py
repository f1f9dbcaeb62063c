"""Which checkpoint is the best by a held-out score: the mark BEST, and `result.json` that tells of it.

Rank 0 alone, called by `engine.loop`: `beaten_by` after each evaluation; where it says so the loop sees to a
checkpoint of that very step and calls `keep`. The mark lies beside COMMIT and holds a `result.Best`; QUARANTINED
wins over it. An older mark goes only once a better checkpoint is confirmed: until then a bad step may still take
the newer one away. Retention spares whatever is marked.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from speech_contract import codec, paths
from speech_contract.errors import ContractError
from speech_contract.events import Event
from speech_contract.result import Best, Result
from speech_contract.scores import ScoreSpec
from speech_trainer.engine.cadence import write_json
from speech_trainer.engine.checkpoints import CheckpointStore, Saved
from speech_trainer.engine.fence import FencedOffError
from speech_trainer.engine.files import Files, explain
from speech_trainer.engine.reporting import Reporting
from speech_trainer.errors import CheckpointError


class BestCheckpoint:
    """The marks of one run directory, and the newest result. `score`: empty, then nothing is ever marked."""

    def __init__(
        self, store: CheckpointStore, reporting: Reporting, run_dir: Path, files: Files | None
    ) -> None:
        self._store, self._reporting, self._run_dir = store, reporting, run_dir
        self._files = files or Files()
        self.score = ""
        self._result: Result | None = None

    def beaten_by(self, result: Result) -> bool:
        """Write the result with the best so far, and say whether it is better than that."""
        self._result = result
        self.refresh()
        value, best = result.scores.get(self.score), self._best()
        if value is None or self._spec.badness(value) != self._spec.badness(value):  # no NaN
            return False
        return best is None or self._spec.beats(value, best.value)

    def keep(self) -> None:
        """Mark the checkpoint of the step that was evaluated. One that is quarantined, or gone, is left alone."""
        result = self._result
        saved = next((s for s, _ in self._good() if result and s.step == result.step), None)
        if result is None or saved is None:
            return
        best = Best(self.score, result.scores[self.score], saved.step, saved.name)
        try:
            self._mark(saved, best)
        except FencedOffError:
            raise
        except CheckpointError as error:  # nothing is lost but the mark
            self._reporting.event(Event.CHECKPOINT_FAILED, step=saved.step, error=str(error))
            return
        self._reporting.event(Event.CHECKPOINT_BEST, **dataclasses.asdict(best))
        self.refresh()

    def refresh(self) -> None:
        """Tell in `result.json` what is the best now: it may have been quarantined since, by any attempt."""
        self._result = self._result or self._written()
        if self._result is None:
            return
        self._store.fence.check()
        self._tidy()
        self._result = dataclasses.replace(self._result, best=self._best())
        write_json(self._run_dir / paths.RESULT, codec.to_document(self._result))

    def _written(self) -> Result | None:
        """What an earlier attempt found; None where there was none, or it cannot be read."""
        try:
            return codec.loads(Result, (self._run_dir / paths.RESULT).read_text(encoding="utf-8"))
        except (OSError, ContractError):
            return None

    @property
    def _spec(self) -> ScoreSpec:
        return self._result.spec(self.score) if self._result else ScoreSpec()

    def _good(self) -> list[tuple[Saved, Best | None]]:
        """Checkpoints that may be the best, newest first, each with its mark."""
        good = [saved for saved in self._store.valid() if not saved.quarantined]
        return [(saved, self._read(saved)) for saved in reversed(good)]

    def _read(self, saved: Saved) -> Best | None:
        """The mark; None when it is absent, cut off, or of another score than the recipe names now."""
        try:
            text = (self._store.path(saved) / paths.BEST).read_text(encoding="utf-8")
            best = codec.loads(Best, text)
        except (OSError, ContractError):
            return None
        return best if best.score == self.score else None

    def _best(self) -> Best | None:
        marked = [best for _, best in self._good() if best is not None]
        return min(marked, key=lambda best: self._spec.badness(best.value), default=None)

    def _mark(self, saved: Saved, best: Best) -> None:
        self._store.fence.check()
        path = self._store.path(saved) / paths.BEST
        try:
            path.unlink(missing_ok=True)  # of an earlier evaluation of this step
            self._files.write_new(path, codec.dumps(best))
        except OSError as error:
            raise CheckpointError(explain(error, path, 0, 0)) from error

    def _tidy(self) -> None:
        """Take the marks away that a confirmed checkpoint beats: retention need not spare those any longer."""
        marked = [(saved, best) for saved, best in self._good() if best is not None]
        sure = [best.value for saved, best in marked if saved.confirmed]
        beaten = [
            saved
            for saved, best in marked
            if any(self._spec.beats(value, best.value) for value in sure)
        ]
        for saved in beaten:
            try:
                (self._store.path(saved) / paths.BEST).unlink(missing_ok=True)
            except OSError as error:  # one checkpoint more is kept
                self._reporting.event(Event.REPORT_FAILED, step=saved.step, error=repr(error))
