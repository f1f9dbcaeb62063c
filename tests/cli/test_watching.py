"""How a running job is shown: lines for pipes, a panel for terminals."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from speech_cli.rendering import live
from speech_cli.rendering.view import view_of
from speech_cli.watching import LiveWatcher, PlainWatcher, watcher_for
from speech_contract.phases import Phase

Make = dict[str, Callable[..., Any]]


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def console(*, terminal: bool = False) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, width=100, highlight=False), text


def play(make: Make, steps: list[tuple[float, int | None]]) -> list[str]:
    out, text = console()
    clock = Clock()
    with PlainWatcher(out, clock) as watcher:
        for clock.now, step in steps:
            watcher.update(make["job"](), make["progress"](step=step))
    return text.getvalue().splitlines()


def test_numbers_come_at_most_every_five_seconds_and_once_more_at_the_end(make: Make) -> None:
    lines = play(make, [(0, 1), (1, 2), (4.9, 3), (5, 4), (6, 5)])
    steps = [line.split()[1] for line in lines if line.startswith("step")]
    assert steps == ["1/800", "4/800", "5/800"]


def test_the_same_numbers_are_not_repeated(make: Make) -> None:
    lines = play(make, [(0, 1), (6, 1), (12, 1)])
    assert len([line for line in lines if line.startswith("step")]) == 1


def test_a_restart_is_told_with_its_cause_not_with_the_health_before_it(make: Make) -> None:
    out, text = console()
    again = {"type": "Restarting", "status": "True", "reason": "Stalled", "message": "no step"}
    healthy = {"verdict": "Healthy", "findings": []}
    with PlainWatcher(out, Clock()) as watcher:
        watcher.update(make["job"]("Restarting", conditions=[again], health=healthy))
    assert text.getvalue().splitlines() == ["voice: Restarting | Stalled"]


def test_throughput_alone_is_no_news(make: Make) -> None:
    out, text = console()
    clock = Clock()
    with PlainWatcher(out, clock) as watcher:
        for clock.now, rate in ((0, 30.0), (6, 20.0), (12, 10.0)):
            watcher.update(make["job"](), make["progress"](audio_seconds_per_second=rate))
    assert text.getvalue().count("step 120/800") == 1


def test_a_change_of_state_verdict_or_finding_is_told_at_once(make: Make) -> None:
    out, text = console()
    with PlainWatcher(out, Clock()) as watcher:
        watcher.update(make["job"]("Starting"), None)
        watcher.update(make["job"](), make["progress"]())
        finding = [make["nan_finding"]()]
        watcher.update(make["job"](), make["progress"](findings=finding))
        watcher.update(make["job"](), make["progress"](findings=finding))
        watcher.update(make["nan"]())
    said = text.getvalue().splitlines()
    assert said[0] == "voice: Starting | Unknown"
    assert said[1] == "voice: Running | Healthy"
    assert said[2].startswith("step 120/800")
    assert said[3] == (
        "critical NonFinite at step 12 on rank 0: loss is nan → Gated; lower the learning rate"
    )
    assert said[4] == "voice: Failed | Critical"
    assert said[5].startswith("step 15/800 1% | loss NaN | gradient norm Inf")
    assert len(said) == 6


def test_pauses_of_a_running_job_get_no_line_of_their_own(make: Make) -> None:
    out, text = console()
    with PlainWatcher(out, Clock()) as watcher:
        for phase in (Phase.TRAINING, Phase.CHECKPOINT, Phase.TRAINING, Phase.EVALUATION):
            watcher.update(make["job"](), make["progress"](phase=phase))
    assert len(text.getvalue().splitlines()) == 2
    evaluating = view_of(make["job"](), make["progress"](phase=Phase.EVALUATION))
    assert live.stage(evaluating) == "Running (Evaluation)"


def test_a_line_longer_than_the_terminal_is_not_wrapped(make: Make) -> None:
    out, text = console()
    finding = {
        "rule": "Stalled",
        "status": "Active",
        "severity": "critical",
        "evidence": "long " * 80,
    }
    with PlainWatcher(out, Clock()) as watcher:
        watcher.update(make["job"](health={"findings": [finding]}))
    assert len(text.getvalue().splitlines()) == 2


def test_the_panel_shows_everything_a_person_watches(make: Make) -> None:
    out, text = console()
    view = view_of(
        make["job"](),
        make["progress"](last_checkpoint_step=100, findings=[make["nan_finding"]()]),
    )
    out.print(live.panel(view))
    shown = text.getvalue()
    for word in (
        "voice", "Running", "Healthy", "on cpu", "15%", "120/800", "ETA 2m31s",
        "93.21", "gradient norm  12.3", "generator/mel 62", "31.4 seconds of audio a second",
        "step 100 (none confirmed yet)", "NonFinite at step 12",
    ):  # fmt: skip
        assert word in shown
    assert "\x1b" not in shown


def test_a_panel_before_the_first_step_has_no_numbers(make: Make) -> None:
    out, text = console()
    out.print(live.panel(view_of(make["job"]("Starting", startup={"phase": "Data"}))))
    assert "Starting (Data)" in text.getvalue()
    assert "loss" not in text.getvalue()


def test_names_with_markup_are_shown_as_they_are(make: Make) -> None:
    out, text = console()
    finding = {
        "rule": "Stalled",
        "status": "Active",
        "severity": "critical",
        "evidence": "[red]x[/nothing]",
    }
    out.print(live.panel(view_of(make["job"](health={"findings": [finding]}))))
    assert "[red]x[/nothing]" in text.getvalue()


def test_the_live_watcher_redraws_on_a_terminal_and_leaves_the_last_picture(make: Make) -> None:
    out, text = console(terminal=True)
    with LiveWatcher(out) as watcher:
        watcher.update(make["job"](), make["progress"](step=400))
        assert watcher.document is not None
    assert "400/800" in text.getvalue()


@pytest.mark.parametrize(
    ("terminal", "plain", "kind"),
    [(True, False, LiveWatcher), (True, True, PlainWatcher), (False, False, PlainWatcher)],
)
def test_live_only_where_a_person_looks(terminal: bool, plain: bool, kind: type) -> None:
    out, _ = console(terminal=terminal)
    assert isinstance(watcher_for(out, plain=plain), kind)
