"""Which line is a new report, and at which step. Called by `reader`; pure.

What tells a report from a redraw is that text, epoch or time moved, not that a step number grew: a script that
prints one line a finished epoch shows `400/400` every time. Steps never go back: a counter that starts over is
counted on.
"""

from __future__ import annotations

from typing import Final

from speech_telemetry.printed.said import Said

REDRAWS: Final = 3  # a finished bar is drawn so often at most: at its end, with its values, and when it is closed
ANEW: Final = 1.5  # seconds between two draws of a finished bar that are two bars


class Counter:
    """One rank's place in the run."""

    def __init__(self) -> None:
        self.step = 0  # what the last sample said
        self.reports = 0  # lines with values that were no redraws
        self.printed: int | None = None  # the newest step as printed
        self.total: int | None = None  # where the training bar ends
        self.epoch: float | None = None  # as printed
        self.begun = False
        self._base = 0  # steps of counters that ended before
        self._loss_step: int | None = None  # of the newest loss report
        self._text = ""  # of the newest report at `printed`
        self._keys: tuple[str, ...] = ()
        self._epoch_then: float | None = None
        self._elapsed = ""
        self._at = 0.0  # when it came
        self._same = 0  # redraws in a row

    def moves(self, said: Said) -> bool:
        """A line without values counts when its step or, without one, its epoch is a new one.

        Step 0 and the first epoch named only announce: nothing was done yet, and the silence that
        follows may be a long first step.
        """
        if said.step is not None:
            return said.step > 0 and said.step != self.printed
        if said.epoch is None or said.epoch == self.epoch:
            return False
        first, self.epoch = self.epoch is None, said.epoch
        return not first

    def follow(self, said: Said, text: str, now: float) -> bool:
        """Go on to what the line says. Whether its counter started over."""
        self.begun = True
        if said.epoch is not None:
            self.epoch = said.epoch
        restarted = said.step is not None and self._restarted(said, text, now)
        fresh = said.values and (said.step is None or restarted or self._fresh(said, text))
        if fresh:
            self.reports += 1
        self._advance(said.step, restarted, said.values)
        if said.total is not None:
            self.total = said.total
        if said.step is not None:
            self._remember(said, text, now)
        return restarted

    def _restarted(self, said: Said, text: str, now: float) -> bool:
        """The printed step went back, or stands at its end in another epoch's report."""
        assert said.step is not None
        if self.printed is None:
            return False
        if said.step != self.printed:
            return said.step < self.printed
        if None not in (self.epoch, self._epoch_then) and self.epoch != self._epoch_then:
            return True
        return said.values and said.step == said.total and self._anew(said, text, now)

    def _anew(self, said: Said, text: str, now: float) -> bool:
        """Another report at the end of a counter, not the same bar drawn once more."""
        if said.keys != self._keys and said.bar is None:
            return False
        if said.bar is None and text != self._text:
            return True
        if said.bar is not None and said.elapsed < self._elapsed:
            return True
        if self._same >= REDRAWS:
            return True
        # The bar says whose it is.
        named = said.epoch is not None and said.epoch == self._epoch_then
        return not named and now - self._at > ANEW and now - self._at != 1.0

    def _fresh(self, said: Said, text: str) -> bool:
        """A report at this step that was not there yet: a line of the same kind with another text."""
        if said.step != self.printed or not self._keys:
            return True
        if said.bar is not None or said.keys != self._keys:
            return False
        return text != self._text or self._same >= REDRAWS

    def _remember(self, said: Said, text: str, now: float) -> None:
        again = said.step == self.printed and (text == self._text or said.bar is not None)
        self._same = self._same + 1 if again else 0
        if not again or said.bar is None:
            self._at = now
        self.printed, self._epoch_then, self._elapsed = said.step, self.epoch, said.elapsed
        if said.values:
            self._text, self._keys = text, said.keys
        elif not again:
            self._text, self._keys = "", ()

    def _advance(self, printed: int | None, restarted: bool, values: bool) -> None:
        """Follow the printed step; a report without a step of its own still is a step of its own."""
        if printed is not None:
            if self.printed is None:
                self._base = self.step if printed <= self.step else 0
            elif restarted:
                self._base = self.step
            self.step = max(self.step, self._base + printed)
        elif (values and self.step == self._loss_step) or self.step == 0:
            self.step += 1
        if values:
            self._loss_step = self.step
