"""Checkpoints compared: what moved, what did not, and what is not asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import toy

from speech_contract import codec
from speech_contract.events import Event
from speech_contract.findings import Finding
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import Thresholds
from speech_contract.wire import DATAGRAM_LIMIT
from speech_health.monitor import Monitor
from speech_health.samples import from_datagram
from speech_trainer.engine.probe import WeightProbe
from speech_trainer.engine.recipe import OptimizerPlan


def compared(run: Any) -> list[Any]:
    return [d.weights for d in run.said.datagrams if d.weights is not None]


def judged(run: Any) -> list[Finding]:
    """What the rules say of everything that the engine told."""
    monitor = Monitor(Thresholds(), started=0.0, wall=lambda: 0.0)
    for index, datagram in enumerate(run.said.datagrams):
        monitor.feed(from_datagram(datagram, index * 0.2))
    return monitor.findings


def test_each_save_but_the_first_is_compared_with_the_one_before(tmp_path: Path) -> None:
    run = toy.make(toy.make_config(tmp_path))
    run.run()
    assert judged(run) == []
    assert [(w.since, w.step, w.updates) for w in compared(run)] == [(5, 10, 5), (10, 12, 2)]
    for weights in compared(run):
        assert weights.unchanged.keys() == weights.movement.keys()
        assert all(share < 0.5 for share in weights.unchanged.values())
        assert all(0.0 < moved < 1.0 for moved in weights.movement.values())
    assert compared(run)[0].rate_sum == pytest.approx(
        sum(1e-3 / (1 + k / 10) for k in range(5, 10))
    )
    assert run.said.steps_of(Event.CHECKPOINTS_COMPARED) == [10, 12]


def test_a_resumed_run_is_compared_with_what_it_resumed_from(tmp_path: Path) -> None:
    toy.make(toy.make_config(tmp_path, training={"max_steps": 5})).run()
    run = toy.make(toy.make_config(tmp_path, attempt=2, training={"max_steps": 8}))
    run.run()
    assert [(w.since, w.step, w.updates) for w in compared(run)] == [(5, 8, 3)]


def test_the_comparison_outlives_a_store_that_keeps_one(tmp_path: Path) -> None:
    run = toy.make(toy.make_config(tmp_path, checkpoint={"keep_last": 1}))
    run.run()
    assert len(compared(run)) == 2


def test_gated_steps_are_no_updates(tmp_path: Path) -> None:
    faults = toy.Faults(positions=((6 * toy.BATCH, 8 * toy.BATCH),))
    run = toy.make(toy.make_config(tmp_path), faults)
    run.run()
    assert [(w.since, w.step, w.updates) for w in compared(run)] == [(5, 10, 3), (10, 12, 2)]


def test_a_rate_of_zero_compares_nothing(tmp_path: Path) -> None:
    run = toy.make(toy.make_config(tmp_path), toy.Faults(learning_rate=0.0))
    run.run()
    assert compared(run) == []


def test_an_optimizer_that_holds_a_copy_is_caught(tmp_path: Path) -> None:
    class Copied(toy.ToyRecipe):
        """Trains, and puts back what it had: the saved weights never change."""

        def after_update(self, built: Any, step: int, gate: Any) -> None:
            if not hasattr(self, "first"):
                self.first = {
                    name: [p.detach().clone() for p in model.parameters()]
                    for name, model in built.models.items()
                }
            with torch.no_grad():
                for name, model in built.models.items():
                    for parameter, old in zip(model.parameters(), self.first[name], strict=True):
                        parameter.copy_(old)

    training = {"max_steps": 30}
    run = toy.make(toy.make_config(tmp_path, training=training), recipe=Copied)
    run.run()
    assert set(compared(run)[0].unchanged.values()) == {1.0}
    assert set(compared(run)[0].movement.values()) == {0.0}
    assert [(f.rule, f.step) for f in judged(run)] == [(Rule.NOT_UPDATING, 5)]
    assert judged(run)[0].severity is Severity.CRITICAL


def test_a_base_that_is_gone_costs_the_comparison_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebase = WeightProbe.rebase
    monkeypatch.setattr(
        WeightProbe, "rebase", lambda self, step, file: rebase(self, step, file / "gone")
    )
    run = toy.make(toy.make_config(tmp_path))
    assert run.run() == 0
    assert compared(run) == []
    assert run.said.steps_of(Event.REPORT_FAILED) == [10, 12]


def test_a_model_of_many_modules_fits_into_a_datagram(tmp_path: Path) -> None:
    class Many(toy.ToyRecipe):
        """Each parameter a module of its own, and many more."""

        def build(self) -> Any:
            built = super().build()
            layers = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(300))
            built.models["many"] = layers
            names = {
                f"a_module_with_a_rather_long_name_{n}": layer for n, layer in enumerate(layers)
            }
            optimizer = torch.optim.AdamW(layers.parameters(), lr=1e-3, fused=True)
            built.optimizers["many"] = OptimizerPlan(optimizer, names)
            return built

        def train_step(self, built: Any, batch: Any, step: int) -> Any:
            losses = super().train_step(built, batch, step)
            sum(layer(torch.ones(1)).sum() for layer in built.models["many"]).backward()
            return losses

    run = toy.make(toy.make_config(tmp_path), recipe=Many)
    run.run()
    told = [d for d in run.said.datagrams if d.weights is not None]
    assert all(len(codec.dumps(d)) < DATAGRAM_LIMIT for d in told)
    assert len(compared(run)[0].unchanged) == 40
    assert sum(name.endswith(" others") for name in compared(run)[0].unchanged) == 1


def test_the_plan_is_told_once_with_the_first_report(tmp_path: Path) -> None:
    run = toy.make(toy.make_config(tmp_path))
    run.run()
    plans = [(d.step, d.plan) for d in run.said.datagrams if d.plan is not None]
    assert [step for step, _ in plans] == [1]
    plan = plans[0][1]
    assert plan is not None
    assert (plan.total_steps, plan.fresh) == (12, True)
    assert plan.rate_sum == pytest.approx(sum(1e-3 / (1 + k / 10) for k in range(12)))


def test_the_rate_in_the_optimizer_is_reported_beside_its_plan(tmp_path: Path) -> None:
    faults = toy.Faults(positions=((3 * toy.BATCH, 5 * toy.BATCH),))
    run = toy.make(toy.make_config(tmp_path), faults)
    run.run()
    logged = [d for d in run.said.datagrams if d.learning_rate is not None]
    assert len(logged) == 12
    for report in logged:
        assert report.learning_rate == pytest.approx(report.planned_rate, rel=1e-6)


def test_a_resumed_run_follows_the_plan(tmp_path: Path) -> None:
    toy.make(toy.make_config(tmp_path, training={"max_steps": 5})).run()
    run = toy.make(toy.make_config(tmp_path, attempt=2))
    run.run()
    logged = [(d.learning_rate, d.planned_rate) for d in run.said.datagrams if d.losses]
    assert logged[0][1] == pytest.approx(1e-3 / 1.5)
    assert all(rate == pytest.approx(plan, rel=1e-6) for rate, plan in logged)


def test_a_rate_that_a_recipe_rewrites_is_off_its_plan(tmp_path: Path) -> None:
    class Meddler(toy.ToyRecipe):
        def train_step(self, built: Any, batch: Any, step: int) -> Any:
            built.optimizers["g"].optimizer.param_groups[0]["lr"] = torch.tensor(5e-5)
            return super().train_step(built, batch, step)

    run = toy.make(toy.make_config(tmp_path), recipe=Meddler)
    run.run()
    logged = [(d.learning_rate, d.planned_rate) for d in run.said.datagrams if d.losses]
    assert [f.rule for f in judged(run)] == [Rule.SCHEDULE_MISMATCH]
    assert all(rate == pytest.approx(5e-5) for rate, _ in logged)
    assert logged[0][1] == pytest.approx(1e-3)
