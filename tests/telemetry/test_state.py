"""What the master knows, joined from reports: rows, speeds, and which value is shown."""

from __future__ import annotations

import dataclasses
import math

import pytest

from speech_contract.findings import RankRow, Verdict
from speech_contract.phases import Phase
from speech_contract.progress import Progress
from speech_contract.report import BadStep
from speech_contract.wire import Datagram
from speech_health.samples import Source, StepSample
from speech_telemetry.state import JobState


@pytest.fixture
def state():
    return JobState({0: 0, 1: 0})


def show(state, now=0.0):
    return state.progress(Progress(version="", attempt=1), [], Verdict.UNKNOWN, now)


def stdout(step, loss, rank=0, now=1.0):
    return StepSample(
        time=10.0, now=now, rank=rank, step=step, source=Source.STDOUT, losses={"loss": loss}
    )


def test_nothing_is_shown_before_the_first_report(state):
    shown = show(state)
    assert (shown.step, shown.loss, shown.running, shown.source) == (None, None, False, "")
    assert [row.rank for row in shown.ranks] == [0, 1]


def test_it_runs_once_every_rank_took_a_step(state):
    state.take_datagram(Datagram(0, 1, 10.0), 0, 1.0)
    assert not show(state).running
    state.take_datagram(Datagram(1, 0, 10.0, Phase.DATA), 0, 1.0)
    assert not show(state).running
    state.take_datagram(Datagram(1, 1, 10.0), 0, 1.0)
    assert show(state).running


def test_stdout_of_one_rank_is_enough(state):
    state.take_stdout(stdout(1, 0.5))
    shown = show(state)
    assert (shown.running, shown.source, shown.loss) == (True, "Stdout", 0.5)


def test_the_reporter_is_believed_before_stdout(state):
    state.take_stdout(stdout(1, 0.5))
    state.take_datagram(Datagram(0, 2, 11.0, losses={"total": 0.25}), 0, 2.0)
    state.take_stdout(stdout(3, 9.0, rank=1))
    shown = show(state)
    assert (shown.source, shown.step, shown.loss) == ("Reporter", 2, 0.25)


def test_the_lowest_rank_speaks_and_values_stay_until_newer_ones(state):
    state.take_datagram(Datagram(1, 1, 10.0, losses={"loss": 9.0}), 0, 1.0)
    state.take_datagram(Datagram(0, 1, 10.0, losses={"loss": 2.0, "mel": 3.0}), 0, 1.0)
    state.take_datagram(Datagram(0, 2, 10.2, learning_rate=1e-4), 0, 1.2)
    state.take_datagram(Datagram(1, 2, 10.2, losses={"loss": 8.0}), 0, 1.2)
    shown = show(state)
    assert (shown.step, shown.loss, shown.losses["mel"], shown.learning_rate) == (2, 2.0, 3.0, 1e-4)


def test_a_nan_loss_is_shown_as_it_is(state):
    state.take_datagram(Datagram(0, 1, 10.0, losses={"loss": math.nan}), 0, 1.0)
    assert math.isnan(show(state).loss)


def test_speeds_and_time_left(state):
    for step in range(1, 11):
        now = step * 0.5
        state.take_datagram(
            Datagram(0, step, now, total_steps=110, audio_seconds_total=step * 4.0,
                     data_wait_seconds=step * 0.05), 0, now,
        )  # fmt: skip
    shown = show(state)
    assert shown.audio_seconds_per_second == pytest.approx(8.0)
    assert shown.data_wait_ratio == pytest.approx(0.1)
    assert shown.eta_seconds == pytest.approx(50.0)


def test_the_time_that_saves_took_goes_on_to_who_counts_it(state):
    state.take_datagram(Datagram(0, 1, 1.0, checkpoint_seconds=2.5), 0, 1.0)
    assert show(state).account["checkpoint_seconds"] == 2.5


def test_speed_starts_anew_after_a_roll_back(state):
    state.take_datagram(Datagram(0, 100, 1.0, total_steps=200), 0, 1.0)
    state.take_datagram(Datagram(0, 50, 2.0), 0, 2.0)
    shown = show(state)
    assert (shown.step, shown.eta_seconds) == (50, None)


def test_skips_of_all_ranks_add_up(state):
    state.take_datagram(Datagram(0, 1, 1.0, skipped={"Other": 2}), 0, 1.0)
    state.take_datagram(Datagram(1, 1, 1.0, skipped={"Other": 1, "TooLong": 1}), 0, 1.0)
    state.take_datagram(Datagram(0, 2, 1.0, skipped={"Other": 3}), 0, 1.0)
    assert show(state).samples_skipped == {"Other": 4, "TooLong": 1}


def test_phase_records_age_and_register(state):
    state.take_phase(1, 0, 0, Phase.DATA, 2.0, now=10.0)
    row = show(state, now=13.0).ranks[1]
    assert (row.phase, row.phase_age, row.registered, row.step) == (Phase.DATA, 5.0, True, None)
    state.take_phase(1, 0, 7, Phase.TRAINING, 0.0, now=14.0)
    assert show(state, now=14.0).ranks[1].step == 7


def test_a_pause_before_the_first_step_is_no_step(state):
    state.take_phase(0, 0, 0, Phase.EVALUATION, 0.0, now=1.0)
    assert show(state).ranks[0].step is None


def test_ranks_below_one_command_appear_when_they_speak():
    state = JobState({0: 0})
    state.take_datagram(Datagram(3, 1, 1.0), 0, 1.0)
    state.take_row(RankRow(9, 1, step=4), 1.0)
    assert [row.rank for row in show(state).ranks] == [0, 3, 9]


def test_the_first_bad_step_is_the_leading_ranks_with_the_samples_of_the_rank_that_had_it(state):
    told = BadStep(4, "mel", "flow", 1)
    state.take_datagram(Datagram(0, 5, 1.0, first_bad=told), 0, 1.0)
    state.take_datagram(
        Datagram(1, 5, 1.0, first_bad=dataclasses.replace(told, samples=("a.wav",))), 0, 1.0
    )
    state.take_datagram(Datagram(0, 6, 1.1, first_bad=told, bad_component="kl"), 0, 1.1)
    assert show(state).first_bad == BadStep(4, "mel", "flow", 1, ("a.wav",))
    state.take_datagram(Datagram(0, 30, 2.0, first_bad=BadStep(29)), 0, 2.0)
    state.take_datagram(Datagram(1, 30, 2.0, first_bad=told), 0, 2.0)  # of the fault before
    assert show(state).first_bad == BadStep(29)


def test_a_script_that_tells_of_its_newest_bad_step_alone_told_the_first_one_first(state):
    state.take_datagram(Datagram(0, 4, 1.0, bad_component="mel"), 0, 1.0)
    state.take_datagram(Datagram(0, 6, 2.0, bad_step=5, bad_module="flow"), 0, 2.0)
    assert show(state).first_bad == BadStep(4, "mel")


def test_the_end_of_a_rank_is_shown(state):
    state.take_exit(1, 0, 40)
    assert show(state).ranks[1].exit_code == 40
