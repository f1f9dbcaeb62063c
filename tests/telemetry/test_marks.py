"""What a script saves by itself: which of it is confirmed, what follows a NaN, and what survives a kill."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from speech_contract import env, paths
from speech_contract.outcome import EXIT_NON_FINITE
from speech_contract.run_config import Checkpoint, ResumeFrom, ResumePolicy
from speech_contract.saves import Handed, Resume
from speech_contract.thresholds import HealthMode, NonFinite, Thresholds
from speech_contract.wire import Datagram
from speech_health.samples import Source, StepSample
from speech_telemetry import saves
from speech_telemetry.board import Board
from speech_telemetry.judge import Judge
from speech_telemetry.logs import EventLog

LIMITS = NonFinite(skip_budget=2, confirm_steps=3, window_steps=20)


class Attempt:
    """One attempt's judge, told by a script that saves to `mine/` every `every` steps. Position = step - 1."""

    def __init__(self, config, every=5, resumed=None):
        self.config, self.every, self.stream = config, every, io.StringIO()
        self.run_dir = Path(config.run_dir)
        log = EventLog("supervisor", self.stream, lambda: 0.0)
        self.judge = Judge(config, {0: 0}, Board(1, lambda: 0.0), log, lambda: 0.0, lambda: 0.0)
        self.marks = self.judge.marks
        self.handed = self.marks.choose()
        self.judge.start()
        given = self.handed.resume.step if self.handed.resume else None
        self.tell(0, resumed_from_step=given if resumed is None else resumed)

    def tell(self, step, **facts):
        self.judge.take_datagram(Datagram(0, step, 0.0, **facts), 0)

    def step(self, step, loss=1.0, **facts):
        told = {"gradient_norm": loss, "window": (step - 1, step), **facts}
        self.tell(step, losses={"loss": loss}, **told)
        if step % self.every == 0:
            self.save(step)

    def save(self, step, name=None):
        path = self.run_dir / "mine" / (name or f"{step}.pt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        self.tell(step, last_checkpoint_step=step, checkpoint_path=str(path))

    def steps(self, first, last, bad=()):
        for step in range(first, last + 1):
            self.step(step, float("nan") if step in bad else 1.0)

    def end(self, why="loss is nan"):
        return self.judge.told_back(why)

    @property
    def progress(self):
        self.judge.publish()
        return self.judge.board.progress

    @property
    def standing(self):
        """Step → marks, of what lies there."""
        word = {(True, False): "confirmed", (False, False): "", (False, True): "quarantined"}
        found = saves.records(self.run_dir)
        return {m.save.step: word.get((m.confirmed, m.quarantined), "both") for m in found}

    def events(self, name):
        lines = map(json.loads, self.stream.getvalue().splitlines())
        return [line for line in lines if line["event"] == name]


@pytest.fixture
def attempt(launcher):
    def start(number=1, every=5, resumed=None, **fields):
        fields = {"health": Thresholds(non_finite=LIMITS), "attempt": number, **fields}
        return Attempt(launcher.config(**fields), every, resumed)

    return start


def test_a_save_is_confirmed_by_the_finite_steps_that_follow_it(attempt):
    run = attempt()
    run.steps(1, 7)
    assert (run.standing, run.progress.last_confirmed_step) == ({5: ""}, None)
    run.steps(8, 10)
    assert (run.standing, run.progress.last_confirmed_step) == ({5: "confirmed", 10: ""}, 5)
    assert [event["step"] for event in run.events("checkpoint_confirmed")] == [5]


def test_an_attempt_that_was_taken_over_from_marks_nothing(attempt):
    run = attempt()
    run.steps(1, 7)
    run.judge.marks.ours = lambda: False
    run.steps(8, 12)
    assert run.standing == {5: ""}  # neither confirmed, nor is step 10 recorded


def test_a_nan_quarantines_what_waits_and_what_is_saved_until_it_is_over(attempt):
    run = attempt()
    run.steps(1, 11, bad={11})
    assert run.standing == {5: "confirmed", 10: "quarantined"}
    run.step(12, float("nan"))
    run.save(12)
    assert run.standing[12] == "quarantined"
    run.steps(13, 18)
    assert run.standing[15] == "confirmed"  # two bad steps are forgiven


def test_a_save_that_nobody_can_see_is_never_confirmed_and_told_once(attempt):
    run = attempt(every=100)
    for step in range(1, 12):
        run.step(step)
        if step in (2, 3):
            run.tell(step, last_checkpoint_step=step, checkpoint_path=f"/nowhere/{step}\n.pt")
    assert (run.standing, run.progress.last_confirmed_step) == ({2: "", 3: ""}, None)
    assert [event["step"] for event in run.events("checkpoint_unseen")] == [2]
    said = "step 2 ('/nowhere/2\\n.pt') is not seen from the master's pod, so it is not confirmed"
    assert run.progress.resume_note == said  # on one line, whatever the file is called
    run.steps(12, 14, bad={12, 13, 14})
    assert "is not where the script said, as far as the master's pod sees; save below" in run.end()


def test_a_save_that_a_volume_shows_late_is_confirmed(attempt):
    run = attempt(every=100)
    run.steps(1, 2)
    run.tell(2, last_checkpoint_step=2, checkpoint_path=str(run.run_dir / "late.pt"))
    (run.run_dir / "late.pt").write_text("")
    run.steps(3, 6)
    assert (run.standing, run.progress.last_confirmed_step) == ({2: "confirmed"}, 2)
    assert run.events("checkpoint_unseen") == []


def test_a_save_that_was_rotated_away_is_no_confirmed_one_to_go_back_to(attempt):
    run = attempt()
    run.steps(1, 6)
    (run.run_dir / "mine" / "5.pt").unlink()
    run.steps(7, 8)
    assert run.standing == {5: "confirmed"}  # it was sound
    assert run.progress.last_confirmed_step is None
    assert run.events("checkpoint_unseen") == []


@pytest.mark.parametrize("facts", [{}, {"losses": {"loss": 1.0}, "gradient_norm": float("inf")}])
def test_steps_that_show_nothing_confirm_nothing(attempt, facts):
    run = attempt()
    run.steps(1, 5)
    for step in range(6, 12):
        run.tell(step, **facts)
    assert run.standing == {5: ""}


def test_what_a_script_prints_besides_confirms_nothing(attempt):
    """A progress bar shows the loss of a step before, beside the number of this one."""
    run = attempt()
    run.steps(1, 7)
    run.judge.take_stdout(StepSample(0.0, 0.0, 0, 8, Source.STDOUT, losses={"loss": 1.0}))
    assert run.standing == {5: ""}


def test_of_a_script_that_prints_its_loss_the_print_confirms(attempt):
    run = attempt()
    run.save(5)
    run.judge.take_stdout(StepSample(0.0, 0.0, 0, 8, Source.STDOUT, losses={"loss": 1.0}))
    assert run.standing == {5: "confirmed"}


def test_nobody_judges_so_nothing_is_confirmed(attempt):
    run = attempt(health=Thresholds(mode=HealthMode.OFF, non_finite=LIMITS))
    run.steps(1, 12, bad={6})
    assert set(run.standing.values()) == {""}


def test_a_run_directory_may_be_named_in_a_roundabout_way(attempt, tmp_path):
    run = attempt(run_dir=str(tmp_path / "jobs" / ".." / "run"))
    run.run_dir = tmp_path / "run"
    run.save(5)
    (saved,) = saves.records(tmp_path / "run")
    assert saved.save.path == "mine/5.pt"


def test_a_save_is_known_once_however_often_it_is_told(attempt):
    run = attempt()
    for _ in range(3):
        run.save(5)
    assert len(saves.records(run.run_dir)) == 1


def test_the_next_attempt_goes_back_to_what_is_confirmed_and_passes_over_the_data(attempt):
    run = attempt()
    run.steps(1, 13, bad={11, 12, 13})
    assert run.judge.decision.exit_code == EXIT_NON_FINITE
    assert "can go back to step 5 (mine/5.pt), past the data at 10 to 12" in run.end()
    progress = run.progress
    assert (progress.last_confirmed_step, progress.discarded_steps) == (5, 8)
    assert progress.first_bad.step == 11
    body = json.loads((run.run_dir / "skips" / "1-1.json").read_text())
    assert (body["windows"], body["step"], body["target"]) == ([[10, 13]], 13, 5)
    after = attempt(2, resume_from=ResumeFrom.CONFIRMED)
    assert after.handed == Handed(Resume(5, str(run.run_dir / "mine/5.pt")), ((10, 13),))
    assert after.progress.last_confirmed_step == 5
    note = "was given step 5 (mine/5.pt) to go on from and the data at 10 to 12 to pass over"
    assert (run.progress.resume_note, after.progress.resume_note) == ("", note)


def test_a_supervisor_killed_after_the_decision_is_followed_by_the_same(attempt):
    """Nobody asks it to end the attempt: marks and windows are there when the report has been judged."""
    run = attempt()
    run.steps(1, 13, bad={11, 12, 13})
    after = attempt(2, resume_from=ResumeFrom.NEWEST)  # exit code 137 asks for the newest
    assert (after.handed.resume.step, after.handed.windows) == (5, ((10, 13),))


def test_a_supervisor_killed_before_the_decision_leaves_nothing_to_go_on_from_by_mistake(attempt):
    run = attempt()
    run.steps(1, 11, bad={11})
    after = attempt(2, resume_from=ResumeFrom.NEWEST)
    assert (after.handed.resume.step, after.handed.windows) == (5, ())


def test_a_crash_goes_on_from_the_newest_and_may_confirm_it_later(attempt):
    attempt().steps(1, 11)
    after = attempt(2)
    assert after.handed.resume.step == 10
    after.steps(11, 13)
    assert after.standing[10] == "confirmed"


def test_steps_after_another_start_than_the_one_given_confirm_nothing_of_before(attempt):
    attempt().steps(1, 11)
    after = attempt(2, every=99, resumed=5)
    after.steps(6, 14)
    assert after.standing == {5: "confirmed", 10: ""}
    (event,) = after.events("resumed_otherwise")
    assert (event["step"], event["given"]) == (5, 10)


def test_scattered_bad_steps_give_up_what_was_confirmed_between_them(attempt):
    run = attempt()
    run.steps(1, 16, bad={7, 12, 16})
    assert run.judge.decision is not None
    assert "no confirmed checkpoint" in run.end()  # 5 was not confirmed when 7 came
    again = attempt(every=3)
    again.steps(1, 19, bad={11, 15, 19})
    assert "can go back to step 6" in again.end()


def test_a_spike_goes_back_to_before_it_began_and_passes_over_nothing(attempt, launcher):
    run = attempt()
    run.steps(1, 20)
    run.marks.go_back(8, "a spike")
    assert run.standing == {5: "confirmed", 10: "both", 15: "both", 20: "quarantined"}
    assert run.marks.told == "can go back to step 5 (mine/5.pt)"
    assert not (run.run_dir / "skips").exists()


def test_an_attempt_that_must_start_before_a_step_gives_up_what_came_later(attempt):
    attempt().steps(1, 20)
    after = attempt(2, resume_from=ResumeFrom.CONFIRMED, resume_before=8)
    assert after.handed.resume.step == 5
    assert after.standing[15] == "both"


def test_what_the_script_has_deleted_is_not_handed_out(attempt):
    run = attempt()
    run.steps(1, 20)
    (run.run_dir / "mine/15.pt").unlink()
    (run.run_dir / "mine/20.pt").unlink()
    assert attempt(2).handed.resume.step == 10


def test_a_place_that_was_written_again_holds_the_newer_save(attempt):
    run = attempt()
    run.steps(1, 13, bad={11, 12, 13})
    after = attempt(2, resume_from=ResumeFrom.CONFIRMED)
    after.steps(6, 13)  # saves step 10 anew, over the quarantined one
    assert attempt(3).handed.resume.step == 10


def test_with_resume_never_another_job_s_saves_are_nothing(attempt):
    attempt().steps(1, 9)
    never = Checkpoint(uri="/run", resume=ResumePolicy.NEVER)
    assert attempt(checkpoint=never, uid="u-2").handed == Handed()
    assert attempt(2, checkpoint=never).handed.resume.step == 5


def none_confirmed(attempt):
    run = attempt()
    run.steps(1, 9, bad={7, 8, 9})
    return run


def written_over(attempt):
    run = attempt(every=99)
    for step in range(1, 14):
        run.step(step, float("nan") if step > 10 else 1.0)
        if step % 5 == 0:
            run.save(step, "last.pt")
    return run


def gone(attempt):
    run = attempt()
    run.steps(1, 10)
    (run.run_dir / "mine/5.pt").unlink()
    run.steps(11, 13, bad={11, 12, 13})
    return run


def none_told(attempt):
    run = attempt(every=99)
    run.steps(1, 9, bad={7, 8, 9})
    return run


def unwritable(attempt):
    run = attempt(every=99)
    run.run_dir.mkdir()
    (run.run_dir / paths.MARKS).write_text("a file where the folder should be")
    run.steps(1, 6)
    run.tell(6, last_checkpoint_step=6)
    run.steps(7, 9, bad={7, 8, 9})
    return run


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (none_told, "the script tells of no save; call report.checkpoint(step, path)"),
        (
            none_confirmed,
            "step 5 (mine/5.pt) was saved, and is confirmed only after 3 finite steps",
        ),
        (written_over, "every save writes over the one before (mine/last.pt); keep two or more"),
        (
            gone,
            "step 5 (mine/5.pt) was confirmed, and is gone or written over; keep more checkpoints",
        ),
        (unwritable, "marks can't be written"),
    ],
)
def test_why_there_is_nothing_to_go_back_to(attempt, make, said):
    run = make(attempt)
    ended = run.end()
    assert ended.startswith("loss is nan; no confirmed checkpoint to go back to: ")
    assert said in ended
    assert run.progress.last_confirmed_step is None


@pytest.mark.parametrize(
    ("facts", "said"),
    [({"window": None}, "report.step(…, window=(first, last))"),
     ({"window": None, "no_window": "the order is not known"}, "the order is not known")],
)  # fmt: skip
def test_data_that_is_not_told_is_not_passed_over_and_that_is_said(attempt, facts, said):
    run = attempt()
    for step in range(1, 14):
        run.step(step, float("nan") if step > 10 else 1.0, **facts)
    assert "can go back to step 5 (mine/5.pt), past no data: " in run.end()
    assert said in run.end()


def test_without_a_norm_the_update_before_the_first_bad_loss_may_be_the_bad_one(attempt):
    run = attempt()
    for step in range(1, 14):
        run.step(step, float("nan") if step > 10 else 1.0, gradient_norm=None)
    assert "past the data at 9 to 12" in run.end()


def test_a_confirmed_save_that_is_written_over_is_no_longer_told(attempt):
    run = attempt(every=99)
    for step in range(1, 11):
        run.step(step)
        if step % 5 == 0:
            run.save(step, "last.pt")
        assert run.progress.last_confirmed_step == (5 if 8 <= step < 10 else None)


def test_an_attempt_whose_target_went_meanwhile_is_refused(attempt):
    run = attempt()
    run.steps(1, 13, bad={11, 12, 13})
    (run.run_dir / "mine/5.pt").unlink()
    after = attempt(2, resume_from=ResumeFrom.CONFIRMED)
    assert after.marks.refusal.startswith("no confirmed checkpoint is left in")
    assert not attempt(2).marks.refusal


def run_of(launcher, *flags, number=1, **fields):
    config = launcher.config(attempt=number, health=Thresholds(non_finite=LIMITS), **fields)
    started = launcher.start(config, "saving_loop.py", *flags)
    started.wait()
    return started


def test_a_loop_that_saves_by_itself_heals_over_two_attempts(launcher):
    first = run_of(launcher, "--nan", "12:14")
    ended = first.outcome
    assert (ended.exit_code, ended.last_confirmed_step, ended.first_bad.step) == (40, 5, 13)
    assert "past the data at 12 to 14" in ended.message  # three bad steps spent the budget
    second = run_of(launcher, "--nan", "12:14", number=2, resume_from=ResumeFrom.CONFIRMED)
    assert second.outcome.exit_code == 0, second.stdout
    assert second.outcome.resumed_from_step == 5
    trained = json.loads(second.rank_log().partition("trained on ")[2])
    assert trained == [*range(5, 12), *range(15, 33)]


def test_a_worker_s_ranks_are_told_the_same(launcher, eventually):
    config = launcher.config(nodes=2, health=Thresholds(non_finite=LIMITS))
    run_dir = Path(config.run_dir)
    run_dir.mkdir()
    (run_dir / "40.pt").write_text("")
    saves.mark(run_dir, saves.add(run_dir, saves.Save(40, "40.pt")), paths.CONFIRMED)
    saves.write_skips(run_dir, 1, ((3, 5),), 41, 40, "nan")
    names = [env.RESUME_FROM, env.RESUME_STEP, env.RESUME_PATH, env.SKIP_WINDOWS]
    script = f"import os; print(*map(os.environ.get, {names}))"
    pods = [launcher.start(config, "python3", "-c", script, node_rank=node) for node in (0, 1)]
    assert [pod.wait() for pod in pods] == [0, 0]
    told = f"Newest 40 {run_dir}/40.pt [[3,5]]"
    assert [pods[0].rank_log(0).strip(), pods[1].rank_log(1).strip()] == [told, told]
