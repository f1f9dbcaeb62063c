"""The Hugging Face callback, event by event: what it reports, what the rules make of it, and what it survives."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import listening
import pytest

from speech_contract import env, paths
from speech_contract.phases import Phase
from speech_contract.progress import Rule, Severity
from speech_contract.report import Plan
from speech_contract.thresholds import Thresholds
from speech_contract.wire import Datagram
from speech_health.monitor import Monitor
from speech_health.samples import from_datagram
from speech_telemetry import saves
from speech_telemetry.huggingface import TelemetryCallback
from speech_telemetry.steering import QuarantinedCheckpointError


class Recorder(listening.Recorder):
    """Which of its reports are steps."""

    @property
    def steps(self) -> list[Datagram]:
        return [d for d in self.sent if d.losses is not None or d.gradient_norm is not None]


class Number:
    """A tensor of one number, as far as the callback looks."""

    ndim = 0

    def __init__(self, value: float) -> None:
        self.value = value

    def detach(self) -> Number:
        return self

    def numel(self) -> int:
        return 1

    def __float__(self) -> float:
        return self.value


class Model:
    """Calls its hooks as a torch module does."""

    training = True

    def __init__(self) -> None:
        self.hook: Any = None
        self.head_gradient: Any = object()

    def register_forward_hook(self, hook: Any, *, with_kwargs: bool) -> Any:
        self.hook = hook
        return SimpleNamespace(remove=lambda: setattr(self, "hook", None))

    def parameters(self) -> list[Any]:
        return [
            SimpleNamespace(requires_grad=trained, numel=lambda: 5) for trained in (True, False)
        ]

    def named_children(self) -> list[tuple[str, Any]]:
        def weights(gradient: Any) -> Any:
            weight = SimpleNamespace(requires_grad=True, grad=gradient)
            return SimpleNamespace(parameters=lambda: [weight])

        return [("head", weights(self.head_gradient)), ("body", weights(object()))]

    def __call__(self, loss: float | None, **named: Any) -> None:
        batch = SimpleNamespace(shape=(4, 7))
        output = {"loss": None if loss is None else Number(loss)}
        self.hook(self, (), {"input_ids": batch, **named}, output)


class Host:
    """The part of a Trainer that callbacks see."""

    def __init__(self, reporter: Recorder, scaler: Any = None, max_grad_norm: float = 1.0) -> None:
        self.callback = TelemetryCallback(reporter, clock=lambda: 100.0)
        self.model = Model()
        self.args = SimpleNamespace(max_grad_norm=max_grad_norm, output_dir="out")
        self.state = SimpleNamespace(global_step=0, max_steps=50)
        self.control = SimpleNamespace(should_evaluate=False, should_save=False)
        self.optimizer = SimpleNamespace(
            param_groups=[{"lr": 1e-3}], scaler=scaler, step_was_skipped=False
        )
        self.fire("train_begin")

    def fire(self, event: str, **more: Any) -> None:
        given = {"model": self.model, "optimizer": self.optimizer, **more}
        getattr(self.callback, f"on_{event}")(self.args, self.state, self.control, **given)

    def step(self, *losses: float | None, norm: float | None = 0.5, **named: Any) -> None:
        self.fire("step_begin")
        for loss in losses:
            self.model(loss, **named)
        self.callback._clipping.norm = None if norm is None else Number(norm)
        self.fire("pre_optimizer_step")
        self.fire("optimizer_step")
        self.state.global_step += 1
        self.fire("step_end")


def judge(reports: list[Datagram]) -> Monitor:
    monitor = Monitor(Thresholds(), started=0.0, wall=lambda: 0.0)
    for number, report in enumerate(reports):
        monitor.feed(from_datagram(report, float(number)))
    return monitor


@pytest.fixture
def reporter() -> Recorder:
    return Recorder()


SCALER = SimpleNamespace(is_enabled=lambda: True)


def test_a_step_carries_the_numbers_and_their_totals(reporter: Recorder) -> None:
    host = Host(reporter)
    host.step(2.0)
    (report,) = reporter.steps
    assert (report.step, report.losses, report.gradient_norm) == (1, {"loss": 2.0}, 0.5)
    assert (report.learning_rate, report.updates, report.samples_total) == (1e-3, 1, 4)
    assert (report.total_steps, report.phase) == (50, Phase.TRAINING)
    assert report.missing_gradients == []


class Adam(SimpleNamespace):
    """An optimizer by its name, as far as a plan needs it."""


def test_the_plan_is_told_before_the_first_step(reporter: Recorder) -> None:
    host = Host(reporter)
    assert reporter.sent[-1].plan == Plan(total_steps=50, parameters=5)  # of an unknown optimizer
    group = {"params": [], "lr": 1e-7, "initial_lr": 1e-7}
    host.optimizer = Adam(param_groups=[group], scaler=None, step_was_skipped=False)
    host.state.max_steps = 500
    loader = SimpleNamespace(dataset=range(64))
    host.fire("train_begin", lr_scheduler=None, train_dataloader=loader)
    plan = reporter.sent[-1].plan
    assert plan is not None
    assert (plan.rate_sum, plan.samples, plan.fresh) == (pytest.approx(5e-5), 64, None)
    host.step(2.0)
    monitor = judge(reporter.sent)
    (finding,) = monitor.findings
    assert (finding.rule, finding.severity) == (Rule.NOT_UPDATING, Severity.WARNING)
    assert "add up to 5e-05 over 500 steps" in finding.evidence


def test_a_part_that_no_gradient_reaches_is_named(reporter: Recorder) -> None:
    host = Host(reporter)
    host.model.head_gradient = None
    for number in range(5):
        host.step(2.0 + 0.1 * number)
    decision = judge(reporter.sent).decision
    assert decision is not None
    assert (decision.exit_code, decision.finding.rule) == (41, Rule.NO_GRADIENT)
    assert decision.finding.evidence.endswith("first 3 step(s): head")


@pytest.mark.parametrize(
    ("named", "loss"), [({}, 2.0), ({"num_items_in_batch": 8}, 4.0)], ids=["means", "shares"]
)
def test_micro_batches_make_one_loss(
    reporter: Recorder, named: dict[str, Any], loss: float
) -> None:
    host = Host(reporter)
    host.step(1.0, 3.0, **named)
    assert reporter.steps[0].losses == {"loss": loss}


def test_evaluation_batches_are_no_training_losses(reporter: Recorder) -> None:
    host = Host(reporter)
    host.fire("step_begin")
    host.model.training = False
    host.model(9.0)
    host.model.training = True
    host.step(2.0)
    assert reporter.steps[0].losses == {"loss": 2.0}


def test_a_nan_that_the_log_hides_ends_the_run(reporter: Recorder) -> None:
    host = Host(reporter)
    host.step(2.0)
    for _ in range(4):
        host.step(math.nan, norm=math.nan)
        host.fire("log", logs={"loss": 0.0, "grad_norm": math.nan})
    monitor = judge(reporter.sent)
    assert monitor.decision is not None
    assert monitor.decision.finding.rule is Rule.NON_FINITE
    assert "loss 'loss' is nan" in monitor.decision.finding.evidence
    assert "step 5" in monitor.decision.finding.evidence


def test_an_average_that_hides_a_nan_counts_each_step_once(reporter: Recorder) -> None:
    """Without a hook on the loss, and with the filter: a sound average beside a norm that is not."""
    host = Host(reporter)
    for _ in range(3):
        host.step(None, norm=None)
        host.fire("log", logs={"loss": 1.1, "grad_norm": math.nan})
    monitor = judge(reporter.sent)
    assert monitor.decision is None
    assert "3 non-finite step(s)" in monitor.findings[0].evidence
    host.step(None, norm=None)
    host.fire("log", logs={"loss": 1.1, "grad_norm": math.nan})
    assert judge(reporter.sent).decision is not None


def test_overflows_of_a_loss_scaler_are_no_fault(reporter: Recorder) -> None:
    host = Host(reporter, scaler=SCALER)
    for step in range(40):
        overflow = step % 20 < 10
        host.optimizer.step_was_skipped = overflow
        host.step(2.0 + 0.01 * step, norm=math.inf if overflow else 0.5)
    monitor = judge(reporter.sent)
    assert monitor.decision is None
    assert {finding.severity for finding in monitor.findings} <= {Severity.INFO}
    assert reporter.sent[-1].updates == 20


def test_the_same_gradients_without_a_scaler_are_one(reporter: Recorder) -> None:
    host = Host(reporter)
    for step in range(6):
        host.step(2.0 + 0.01 * step, norm=math.inf)
    decision = judge(reporter.sent).decision
    assert decision is not None
    assert decision.finding.rule is Rule.NON_FINITE


def test_the_loss_of_the_log_speaks_when_the_model_returns_none(reporter: Recorder) -> None:
    host = Host(reporter)
    for number in range(30):
        host.step(None, norm=None)
        host.fire("log", logs={"loss": 0.0, "learning_rate": 1e-3})
        assert reporter.sent[-1].step == number + 1
    decision = judge(reporter.sent).decision
    assert decision is not None
    assert decision.finding.rule is Rule.ZERO_LOSS


def test_pauses_have_names_and_scores_and_saves_are_told(reporter: Recorder) -> None:
    host = Host(reporter)
    host.control.should_evaluate = host.control.should_save = True
    host.step(2.0)
    assert reporter.sent[-1].phase is Phase.EVALUATION
    host.fire("prediction_step")
    assert reporter.stamps[-1] == (1, Phase.EVALUATION)
    host.fire("evaluate", metrics={"eval_loss": 1.5, "eval_runtime": 9.0, "eval_note": "text"})
    assert reporter.sent[-2].evaluation == {"loss": 1.5}
    host.fire("evaluate", metrics={"eval_telugu_cer": 0.25})  # of a second held-out set
    assert reporter.sent[-2].evaluation == {"loss": 1.5, "telugu_cer": 0.25}
    assert reporter.sent[-1].phase is Phase.CHECKPOINT
    host.fire("save")
    assert reporter.sent[-1].last_checkpoint_step == 1
    assert reporter.sent[-1].checkpoint_path == os.path.abspath("out/checkpoint-1")
    assert reporter.stamps[-1] == (1, Phase.TRAINING)
    host.fire("train_end")
    assert reporter.sent[-1].phase is Phase.FINISHING
    assert host.model.hook is None


def test_a_resumed_run_says_from_where(reporter: Recorder) -> None:
    host = Host(reporter)
    host.state.global_step = 20
    host.fire("train_begin")
    host.step(2.0)
    assert (reporter.sent[-1].step, reporter.sent[-1].resumed_from_step) == (21, 20)


def test_a_run_that_resumed_from_a_quarantined_checkpoint_is_refused(
    reporter: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(env.RUN_DIR, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "checkpoint-20").mkdir(parents=True)
    saved = saves.add(tmp_path, saves.Save(20, "out/checkpoint-20"))
    host = Host(reporter)
    host.state.global_step = 20
    host.fire("train_begin")
    saves.mark(tmp_path, saved, paths.QUARANTINED)
    with pytest.raises(QuarantinedCheckpointError, match="checkpoint-20 is quarantined"):
        host.fire("train_begin")


def test_why_no_data_can_be_told_is_told(reporter: Recorder) -> None:
    Host(reporter)
    assert {d.no_window for d in reporter.sent} >= {
        "the data comes from NoneType and NoneType, whose order is not known"
    }
    assert reporter.dropped == 0


def test_without_a_supervisor_it_hooks_nothing() -> None:
    reporter = Recorder(connected=False)
    host = Host(reporter)
    assert host.model.hook is None
    assert reporter.sent == []


def test_what_goes_wrong_is_counted_and_training_goes_on(reporter: Recorder) -> None:
    host = Host(reporter)
    host.model.named_children = None  # type: ignore[assignment]
    host.step(2.0)
    assert reporter.dropped == 1
    assert reporter.steps[0].losses == {"loss": 2.0}


def test_events_of_other_versions_are_taken(reporter: Recorder) -> None:
    callback = TelemetryCallback(reporter)
    callback.on_an_event_of_tomorrow(1, 2, 3, model=None)
    with pytest.raises(AttributeError):
        _ = callback.missing
