"""The Lightning callback, hook by hook, as a Trainer of Lightning 2 calls them; tests/local runs a real one."""

from __future__ import annotations

import copy
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import listening
import pytest
import torch

from speech_contract.phases import Phase
from speech_contract.progress import Rule
from speech_contract.report import Plan
from speech_contract.scores import Better, ScoreSpec
from speech_contract.thresholds import Thresholds
from speech_contract.wire import Datagram
from speech_health.monitor import Monitor
from speech_health.samples import from_datagram
from speech_telemetry.lightning import TelemetryCallback


class Recorder(listening.Recorder):
    """Which of its reports are steps."""

    @property
    def steps(self) -> list[Datagram]:
        return [d for d in self.sent if d.phase is Phase.TRAINING]


class Scaler:
    """A loss scaler at work."""

    def is_enabled(self) -> bool:
        return True

    def get_scale(self) -> float:
        return 1024.0


class Host:
    """The part of a Trainer that callbacks see, and the order of its hooks."""

    def __init__(self, reporter: Recorder, *, manual: bool = False, rate: float = 1e-3) -> None:
        self.callback = TelemetryCallback(reporter, clock=lambda: 100.0)
        self.module = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.Identity())
        self.module.automatic_optimization = not manual  # type: ignore[assignment]
        optimizer = torch.optim.Adam(self.module.parameters(), lr=rate)
        self.trainer = SimpleNamespace(
            global_rank=0, global_step=0, accumulate_grad_batches=1, estimated_stepping_batches=300,
            optimizers=[optimizer], lr_scheduler_configs=[], num_training_batches=100, callbacks=[],
            train_dataloader=SimpleNamespace(dataset=range(400)), callback_metrics={},
            sanity_checking=False, lightning_module=self.module, strategy=None,
            precision_plugin=SimpleNamespace(scaler=None),
        )  # fmt: skip

    def start(self) -> Host:
        self.fire("on_train_start")
        return self

    def fire(self, hook: str, *arguments: Any) -> None:
        getattr(self.callback, hook)(self.trainer, self.module, *arguments)

    def batch(
        self, loss: float | None, norm: float = 0.5, *, steps: bool = True, **extra: Any
    ) -> None:
        """A micro-batch, whose gradient is `norm`."""
        given = [torch.zeros(4, 7), torch.zeros(4)]
        self.fire("on_train_batch_start", given, 0)
        parts = self.trainer.accumulate_grad_batches
        if loss is not None:
            self.fire("on_before_backward", torch.tensor(loss / parts, requires_grad=True))
            self.module[0].weight.grad = torch.full((1, 1), norm)
        if steps:
            self.fire("on_before_optimizer_step", self.trainer.optimizers[0])
            self.trainer.global_step += 1
        outputs = None if loss is None else {"loss": torch.tensor(loss / parts), **extra}
        self.fire("on_train_batch_end", outputs, given, 0)


def judge(reports: list[Datagram]) -> Monitor:
    monitor = Monitor(Thresholds(), started=0.0, wall=lambda: 0.0)
    for number, report in enumerate(reports):
        monitor.feed(from_datagram(report, float(number)))
    return monitor


@pytest.fixture
def reporter() -> Recorder:
    return Recorder()


def test_a_step_carries_the_numbers_and_their_totals(reporter: Recorder) -> None:
    host = Host(reporter).start()
    host.batch(2.0, vq_loss=torch.tensor(0.25), acc=torch.tensor(0.9), loss_curve=torch.zeros(3))
    (report,) = reporter.steps
    assert (report.step, report.losses) == (1, {"loss": 2.0, "vq_loss": 0.25})
    assert (report.gradient_norm, report.learning_rate) == (0.5, 1e-3)
    assert (report.updates, report.samples_total, report.total_steps) == (1, 4, 300)
    assert report.missing_gradients == []


def test_the_plan_is_told_and_a_rate_that_moves_nothing_is_found(reporter: Recorder) -> None:
    host = Host(reporter, rate=1e-7).start()
    plan = reporter.sent[-1].plan
    assert plan == Plan(300, pytest.approx(3e-5), parameters=1, samples=400)
    host.batch(2.0)
    assert judge(reporter.sent).findings[0].rule is Rule.NOT_UPDATING


@pytest.mark.parametrize(
    ("interval", "frequency", "batches", "expected"),
    [
        ("step", 1, 100, sum(1e-3 * 0.5**k for k in range(300))),
        ("step", 10, 100, 10 * sum(1e-3 * 0.5**k for k in range(30))),
        ("epoch", 1, 100, 100 * 1e-3 * (1 + 0.5 + 0.25)),
        ("epoch", 1, math.inf, None),
    ],
)
def test_a_schedule_is_added_up_as_it_is_stepped(
    reporter: Recorder, interval: str, frequency: int, batches: float, expected: float | None
) -> None:
    host = Host(reporter)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(host.trainer.optimizers[0], 0.5)
    config = SimpleNamespace(scheduler=scheduler, interval=interval, frequency=frequency)
    host.trainer.lr_scheduler_configs = [config]
    host.trainer.num_training_batches = batches
    host.start()
    plan = reporter.sent[-1].plan
    assert plan is not None
    assert plan.rate_sum == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("total", [math.inf, -1, 0])
def test_a_run_without_an_end_has_no_plan(reporter: Recorder, total: float) -> None:
    host = Host(reporter)
    host.trainer.estimated_stepping_batches = total
    host.start().batch(2.0)
    assert [d.plan for d in reporter.sent] == [None, None]
    assert reporter.steps[0].total_steps is None


def test_micro_batches_make_one_loss(reporter: Recorder) -> None:
    host = Host(reporter)
    host.trainer.accumulate_grad_batches = 2
    host.start()
    host.batch(1.0, steps=False)
    assert reporter.steps == []
    host.batch(3.0)
    assert reporter.steps[0].losses == {"loss": 2.0}
    host.batch(5.0)  # the last of an epoch stands alone, and is still divided by two
    assert reporter.steps[1].losses == {"loss": 5.0}


def test_a_nan_is_named_at_its_step(reporter: Recorder) -> None:
    host = Host(reporter).start()
    host.batch(2.0)
    for _ in range(4):
        host.batch(math.nan, math.nan)
    decision = judge(reporter.sent).decision
    assert decision is not None
    assert (decision.finding.rule, decision.finding.step) == (Rule.NON_FINITE, 2)
    assert [d.non_finite_steps for d in reporter.steps] == [0, 0, 1, 2, 3]


def test_overflows_of_a_loss_scaler_are_no_fault(reporter: Recorder) -> None:
    host = Host(reporter)
    host.trainer.precision_plugin.scaler = Scaler()
    host.start()
    for step in range(40):
        host.batch(2.0 + 0.01 * step, math.inf if step % 20 < 10 else 0.5)
    assert judge(reporter.sent).decision is None
    assert reporter.sent[-1].updates == 20


def test_a_batch_that_the_script_leaves_out_claims_nothing(reporter: Recorder) -> None:
    host = Host(reporter).start()
    for _ in range(30):
        host.batch(None)
    assert {(d.losses, d.gradient_norm, d.updates) for d in reporter.steps} == {(None, None, None)}
    monitor = judge(reporter.sent)
    assert monitor.findings == []
    assert monitor.verdict.value == "Unknown"


def test_of_manual_optimization_the_derived_losses_are_told(reporter: Recorder) -> None:
    host = Host(reporter, manual=True)
    host.trainer.precision_plugin.scaler = Scaler()
    host.start()
    for name, losses in (("one", {"loss": 3.0}), ("two", {"backward_1": 1.0, "backward_2": 2.0})):
        host.trainer.optimizers = host.trainer.optimizers[:1] * (1 if name == "one" else 2)
        host.fire("on_train_batch_start", None, 0)
        for loss in (1.0, 2.0):
            host.fire("on_before_backward", torch.tensor(loss * 1024.0))
            host.module[0].weight.grad = torch.full((1, 1), 3.0 if loss == 1.0 else 4.0)
            host.fire("on_before_optimizer_step", host.trainer.optimizers[0])
        host.trainer.global_step += 2
        host.fire("on_train_batch_end", None, None, 0)
        assert reporter.steps[-1].losses == losses
        assert reporter.steps[-1].gradient_norm == 5.0  # of both


def test_a_sharded_gradient_is_nobody_s_whole(reporter: Recorder) -> None:
    host = Host(reporter)
    host.trainer.strategy = type("DeepSpeedStrategy", (), {})()
    host.start().batch(2.0)
    assert reporter.steps[0].gradient_norm is None


def test_a_part_that_no_gradient_reaches_is_named(reporter: Recorder) -> None:
    host = Host(reporter)
    host.module.append(torch.nn.Linear(1, 1))
    host.start()
    for number in range(5):
        host.batch(2.0 + 0.1 * number)
    decision = judge(reporter.sent).decision
    assert decision is not None
    assert decision.finding.evidence.endswith("first 3 step(s): 2")


def test_pauses_have_names_and_scores_and_saves_are_told(reporter: Recorder) -> None:
    host = Host(reporter).start()
    host.trainer.callbacks = [SimpleNamespace(monitor="cer", mode="min"), object()]
    host.trainer.callback_metrics = {"train_loss": torch.tensor(2.0)}
    host.batch(2.0)
    host.fire("on_validation_start")
    assert reporter.sent[-1].phase is Phase.EVALUATION
    host.fire("on_validation_batch_end", None, None, 0)
    assert reporter.stamps[-1] == (1, Phase.EVALUATION)
    host.trainer.callback_metrics |= {"cer": torch.tensor(0.25), "val_loss": torch.tensor(1.5)}
    host.fire("on_validation_end")
    assert reporter.sent[-1].evaluation == {"cer": 0.25, "val_loss": 1.5}
    assert reporter.sent[-1].score_specs == {"cer": ScoreSpec(Better.LOWER)}
    host.fire("on_save_checkpoint", {})
    assert (reporter.sent[-1].phase, reporter.sent[-1].last_checkpoint_step) == (
        Phase.CHECKPOINT,
        None,  # it is still being written
    )
    host.batch(1.9)
    assert reporter.steps[-1].last_checkpoint_step == 1
    host.fire("on_save_checkpoint", {})
    host.fire("on_train_end")
    host.fire("teardown", "fit")
    assert reporter.sent[-1].last_checkpoint_step == 2
    assert reporter.stamps[-1] == (2, Phase.FINISHING)


def test_a_checkpoint_s_place_is_told_when_a_callback_of_lightning_wrote_it(
    reporter: Recorder, tmp_path: Path
) -> None:
    (tmp_path / "one.ckpt").touch()
    host = Host(reporter)
    saver = SimpleNamespace(
        _last_checkpoint_saved=str(tmp_path / "one.ckpt"), _last_global_step_saved=1
    )
    host.trainer.callbacks = [host.callback, saver]
    host.start().batch(2.0)
    for _ in range(2):  # the second by hand, nobody knows where to
        host.fire("on_save_checkpoint", {})
        host.batch(1.9)
    found = {(d.last_checkpoint_step, d.checkpoint_path) for d in reporter.steps[1:]}
    assert found == {(1, str(tmp_path / "one.ckpt")), (2, "")}


def test_what_is_tried_before_the_first_step_is_no_evaluation(reporter: Recorder) -> None:
    host = Host(reporter)
    host.trainer.sanity_checking = True
    host.trainer.callback_metrics = {"val_loss": torch.tensor(9.0)}
    for hook in ("on_sanity_check_start", "on_validation_start", "on_validation_end"):
        host.fire(hook)
    host.fire("on_validation_batch_end", None, None, 0)
    assert reporter.sent == []
    assert {phase for _, phase in reporter.stamps} == {Phase.DATA}


def test_a_resumed_run_says_from_where(reporter: Recorder) -> None:
    host = Host(reporter)
    host.trainer.global_step = 20
    host.start().batch(2.0)
    assert (reporter.sent[-1].step, reporter.sent[-1].resumed_from_step) == (21, 20)


def test_without_a_supervisor_nothing_is_measured() -> None:
    reporter = Recorder(connected=False)
    host = Host(reporter).start()
    host.batch(2.0)
    assert host.callback._squares is None


def test_what_goes_wrong_is_counted_and_training_goes_on(reporter: Recorder) -> None:
    host = Host(reporter).start()
    host.trainer.optimizers[0].param_groups = []
    host.batch(2.0)
    assert reporter.dropped == 1
    assert reporter.steps[0].losses == {"loss": 2.0}


def test_hooks_of_other_versions_are_taken(reporter: Recorder) -> None:
    callback = TelemetryCallback(reporter)
    callback.on_a_hook_of_tomorrow(1, 2, 3, model=None)
    with pytest.raises(AttributeError):
        _ = callback.missing


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def loaded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type:
    """A Lightning under either of its names."""
    module = ModuleType(request.param)
    base = type("Callback", (), {"state_key": "base"})
    module.Callback = base  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, request.param, module)
    return base


def test_it_is_a_callback_of_the_lightning_that_is_loaded(loaded: type) -> None:
    callback = TelemetryCallback(Recorder())
    assert isinstance(callback, loaded)
    assert isinstance(callback, TelemetryCallback)
    assert type(callback).__name__ == "TelemetryCallback"
    # As pickle would, for a process that is spawned.
    assert isinstance(copy.deepcopy(callback), loaded)
