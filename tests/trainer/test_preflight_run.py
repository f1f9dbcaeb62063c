"""The preflight inside the engine: it leaves no trace in training, and says the same everywhere."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import preflights
import pytest
import torch
import toy
from preflights import make_config, sit
from twins import vits_step

from speech_contract import outcome, paths
from speech_contract.events import Event
from speech_contract.phases import Phase
from speech_contract.preflight import (
    MAX_FAILED,
    Check,
    CheckResult,
    Mark,
    PreflightReport,
    PreflightVerdict,
    Scope,
    bounded,
)
from speech_contract.wire import DATAGRAM_LIMIT
from speech_telemetry import reporter
from speech_trainer.engine.randomness import random_state
from speech_trainer.engine.recipe import Built, OptimizerPlan
from speech_trainer.engine.state import collect_tensors
from speech_trainer.errors import PreflightFailed
from speech_trainer.preflight import planned, run

CPU = torch.device("cpu")


def state_of(desk: preflights.Desk) -> dict[str, Any]:
    """Everything that training starts from."""
    engine = desk.engine
    tensors = collect_tensors(engine.built)
    return {
        "tensors": {name: value.numpy().tobytes() for name, value in tensors.items()},
        "random": random_state(CPU),
        "stream": (engine.stream.position, engine.stream.state_dict(), engine.stream.skipped),
        "schedules": engine.schedules.state_dict(),
        "rates": [[float(g["lr"]) for g in p.optimizer.param_groups] for p in engine.built.optimizers.values()],
        "modes": [m.training for model in engine.built.models.values() for m in model.modules()],
        "gradients": [p.grad for model in engine.built.models.values() for p in model.parameters()],
        "counters": engine.counters,
    }  # fmt: skip


@pytest.mark.parametrize("wrap", [lambda recipe: recipe, vits_step.loss_upside_down])
def test_training_starts_from_where_it_would_have_without(
    tmp_path: Path, voice: Path, wrap: Any
) -> None:
    desk = sit(make_config(tmp_path, voice, preflight=preflights.NOTIFY), wrap)
    desk.engine._build()
    before = state_of(desk)
    np.random.rand()
    random.random()
    before["random"] = random_state(CPU)
    desk.engine._check_first()
    assert desk.table
    assert state_of(desk) == before
    desk.engine.stream.close()


def test_the_same_weights_come_out_with_and_without_a_preflight(
    tmp_path: Path, voice: Path
) -> None:
    trained = []
    for name, mode in (("with", {}), ("without", preflights.OFF)):
        desk = sit(make_config(tmp_path / name, voice, preflight=mode), only=False)
        assert desk.run() == ""
        assert desk.engine.counters.step == 4
        trained.append(state_of(desk))
        assert (tmp_path / name / paths.PREFLIGHT).exists() is (name == "with")
    assert trained[0]["tensors"] == trained[1]["tensors"]
    assert trained[0]["random"] == trained[1]["random"]
    assert trained[0]["stream"] == trained[1]["stream"]


def test_it_has_a_phase_a_table_an_event_and_a_file(tmp_path: Path, voice: Path) -> None:
    desk = sit(make_config(tmp_path, voice), only=False)
    assert desk.run() == ""
    phases = [phase for _, phase in desk.said.phases]
    assert phases.index(Phase.PREFLIGHT) < phases.index(Phase.FIRST_STEP)
    (event,) = [fields for name, fields in desk.said.events if name is Event.PREFLIGHT_FINISHED]
    assert event["verdict"] == PreflightVerdict.PASSED.value
    document = json.loads((tmp_path / paths.PREFLIGHT).read_text("utf-8"))
    assert document["results"] == event["results"]
    assert document["seconds"] == event["seconds"] > 0
    shown = "".join(desk.shown)
    assert shown.startswith("CHECK ")
    assert "preflight (full): Passed in " in shown
    report = desk.said.last.preflight
    assert report is not None
    assert (report.verdict, report.results) == (PreflightVerdict.PASSED, ())
    assert report.checks == len(document["results"])


@pytest.mark.parametrize(("steps", "failed"), [(3, []), (5, []), (99, ["generator/kl"])])
def test_values_that_are_equal_by_chance_are_asked_of_more_batches(
    tmp_path: Path, voice: Path, steps: int, failed: list[str]
) -> None:
    seen: list[int] = []

    def alike(recipe: Any) -> Any:
        original = recipe.train_step

        def train_step(built: Built, batch: Any, step: int) -> Any:
            record = original(built, batch, step)
            seen.append(step)
            told = record.losses["generator/kl"]
            value = torch.full_like(told, 2.5) if len(seen) <= steps else told
            return dataclasses.replace(record, losses={**record.losses, "generator/kl": value})

        recipe.train_step = train_step
        return recipe

    desk = sit(make_config(tmp_path, voice, preflight=preflights.NOTIFY), alike)
    desk.run()
    rows = [row for row in desk.table if row["check"] == Check.COMPONENTS.value]
    assert [row["field"] for row in rows if row["mark"] == Mark.FAILED.value] == failed
    assert len(rows) == 1


def test_notify_says_what_it_would_have_done_and_trains(tmp_path: Path, voice: Path) -> None:
    desk = sit(
        make_config(tmp_path, voice, preflight=preflights.NOTIFY),
        vits_step.loss_upside_down,
        only=False,
    )
    assert desk.run() == ""
    assert desk.engine.counters.step == 4
    report = desk.said.last.preflight
    assert report is not None
    assert report.verdict is PreflightVerdict.WOULD_HAVE_FAILED
    assert {row.check for row in report.failed} == {Check.LOSS_FALLS}


@pytest.mark.parametrize("again", ["attempt", "resumed"])
def test_a_later_attempt_makes_the_cheap_checks_alone(
    again: str, tmp_path: Path, voice: Path
) -> None:
    first = make_config(tmp_path, voice, checkpoint={"every_steps": 2})
    assert sit(first, only=False).run() == ""
    training = {"max_steps": 6}
    config = make_config(tmp_path, voice, checkpoint={"every_steps": 2}, training=training)
    config = dataclasses.replace(config, attempt=2 if again == "attempt" else 1, uid="u2")
    desk = sit(config, only=False)
    assert desk.run() == ""
    assert desk.engine.counters.step == 6
    report = desk.said.last.preflight
    assert report is not None
    assert report.scope is Scope.CHEAP
    assert not {row["check"] for row in desk.table} & {
        c.value for c in (Check.GRADIENTS, Check.WEIGHTS, Check.LOSS_FALLS, Check.INPUTS)
    }


def test_alone_it_ends_after_its_verdict_and_fences_nothing(tmp_path: Path, voice: Path) -> None:
    desk = sit(make_config(tmp_path, voice))
    assert desk.engine.run() == outcome.EXIT_DONE
    assert desk.engine.counters.step == 0
    assert not (tmp_path / paths.ATTEMPTS).exists()


def test_a_recipe_without_expectations_says_so(tmp_path: Path) -> None:
    made = toy.make(toy.make_config(tmp_path))
    shown: list[str] = []
    made.engine.outside = dataclasses.replace(
        made.engine.outside, show=shown.append, preflight=run.run
    )
    assert made.run() == 0
    assert shown == ["recipe toy has no preflight\n"]


def test_what_takes_too_long_has_failed(tmp_path: Path, voice: Path) -> None:
    """The clock jumps past the limit at the second trial step."""
    desk = sit(make_config(tmp_path, voice, preflight={"timeout_seconds": 60}))
    desk.engine._build()
    now = iter([0.0] * 2 + [61.0] * 100)
    engine = desk.engine
    subject = run.Subject(
        engine.config, engine.recipe, engine.built, engine.stream, engine.counters, "d"
    )
    around = run.Surroundings(
        engine.world, engine.reporting, desk.shown.append, lambda *told: None, lambda: next(now)
    )
    with pytest.raises(PreflightFailed, match=r"^Time: health.preflight.timeoutSeconds: 61.0 s"):
        run.run(subject, around)
    engine.stream.close()


def test_a_rank_that_hangs_is_ended_by_its_guard(tmp_path: Path, voice: Path) -> None:
    desk = sit(make_config(tmp_path, voice, preflight={"timeout_seconds": 7}))
    engine = desk.engine
    engine._build()
    subject = run.Subject(
        engine.config, engine.recipe, engine.built, engine.stream, engine.counters, "d"
    )
    aborted: list[tuple[int, str]] = []
    around = run.Surroundings(
        engine.world, engine.reporting, desk.shown.append, lambda *told: aborted.append(told)
    )
    expected = engine.recipe.preflight_checks(engine.built)
    assert expected is not None
    run.Preflight(subject, run.Rewound(engine.stream), around, expected)._too_late()
    ((code, message),) = aborted
    assert code == outcome.EXIT_PREFLIGHT
    assert "Time: health.preflight.timeoutSeconds" in message
    assert desk.said.last.preflight is not None
    engine.stream.close()


def test_the_largest_report_fits_a_datagram() -> None:
    row = CheckResult(Check.GRADIENTS, Mark.FAILED, "f" * 999, "é" * 999, "e" * 999, "r" * 999, 7)
    report = PreflightReport(PreflightVerdict.FAILED, 1.5, results=(row,) * 40)
    travels = bounded(report)
    assert len(travels.results) == MAX_FAILED
    datagram = dataclasses.replace(toy.Datagram(rank=0, step=0, time=0.0), preflight=travels)
    assert len(reporter._encode(datagram, 0)) < DATAGRAM_LIMIT


# -- what needs no step ----------------------------------------------------------------------------------------


def test_a_directory_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    rows = planned.run_directory(tmp_path / "file" / "run", 3, 1, 10)
    assert [row.mark for row in rows] == [Mark.FAILED, Mark.PASSED, Mark.PASSED]
    assert planned.run_directory(tmp_path / "new", 3, 1, 10)[0].mark is Mark.PASSED
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    ("free", "marks"),
    [
        (40, [Mark.PASSED, Mark.PASSED]),
        (39, [Mark.PASSED, Mark.WARNED]),
        (9, [Mark.FAILED, Mark.WARNED]),
    ],
)
def test_room_for_checkpoints(tmp_path: Path, free: int, marks: list[Mark]) -> None:
    rows = planned.run_directory(tmp_path, 3, 10, free)
    assert [row.mark for row in rows[1:]] == marks


def plan_with(make: Any, rate: float = 0.5) -> Built:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    plan = OptimizerPlan(optimizer, {"m": model}, make(optimizer))
    return Built({"m": model}, {"m": plan})


SCHEDULES = torch.optim.lr_scheduler


@pytest.mark.parametrize(
    ("make", "marks"),
    [
        (lambda o: None, [Mark.PASSED, Mark.PASSED]),
        (lambda o: SCHEDULES.LambdaLR(o, lambda k: 1 / (1 + k)), [Mark.PASSED, Mark.PASSED]),
        (lambda o: SCHEDULES.ExponentialLR(o, 0.9), [Mark.PASSED, Mark.PASSED]),
        (lambda o: SCHEDULES.LambdaLR(o, lambda k: 4.0), [Mark.PASSED, Mark.WARNED]),
        (lambda o: SCHEDULES.LambdaLR(o, lambda k: 0.0), [Mark.FAILED]),
        (lambda o: SCHEDULES.LambdaLR(o, lambda k: 1.0 - k), [Mark.FAILED]),
        (lambda o: SCHEDULES.LambdaLR(o, lambda k: float("nan")), [Mark.FAILED]),
    ],
)
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_planned_rates(make: Any, marks: list[Mark]) -> None:
    built = plan_with(make)
    schedule, (group,) = (
        built.optimizers["m"].schedule,
        built.optimizers["m"].optimizer.param_groups,
    )
    before, rate = schedule.state_dict() if schedule else None, str(group["lr"])
    assert [row.mark for row in planned.learning_rates(built, 10)] == marks
    assert (schedule.state_dict() if schedule else None) == before
    assert str(group["lr"]) == rate


def test_a_long_plan_is_looked_at_in_places() -> None:
    built = plan_with(lambda o: SCHEDULES.LambdaLR(o, lambda k: 1.0))
    assert len(planned.planned_rates(built.optimizers["m"], 1_000_000)) <= 2 * planned.POINTS


def test_a_module_that_is_frozen_on_purpose() -> None:
    built = plan_with(lambda o: None)
    built.models["m"].weight.requires_grad_(False)
    assert planned.parameters(built, ())[0].mark is Mark.FAILED
    assert planned.parameters(built, ("m.weight",))[0].mark is Mark.PASSED


def test_trained_and_frozen_are_told_apart_by_the_tensor() -> None:
    """An adapter lies below the prefix of what it adapts; the base is frozen bfloat16, and in no optimizer."""
    net = torch.nn.ModuleDict({"base": torch.nn.Linear(2, 2, bias=False).to(torch.bfloat16)})
    net["base"].adapter = torch.nn.Linear(2, 2, bias=False)
    base, adapter = net["base"].weight.requires_grad_(False), net["base"].adapter.weight
    adam = torch.optim.AdamW([adapter], lr=1e-3, fused=True)
    built = Built({"m": net}, {"m": OptimizerPlan(adam, {"net": net})})

    def faults() -> list[str]:
        rows = planned.parameters(built, ["m.base.weight"])
        return [row.measured for row in rows if row.mark is Mark.FAILED]

    assert faults() == []
    base.requires_grad_(True)
    assert faults() == ["1 tensors are meant to be frozen, but train: m.base.weight"]
    base.requires_grad_(False)
    adapter.requires_grad_(False)
    assert faults() == ["1 tensors are frozen (requires_grad is False): m.base.adapter.weight"]
    net["base"].adapter.to(torch.bfloat16).requires_grad_(True)
    assert faults() == ["1 tensors are no float32 masters: m.base.adapter.weight"]
    adam.param_groups.clear()
    assert "1 tensors belong to no optimizer: m.base.adapter.weight" in faults()
    rows = planned.parameters(built, ["m.base.wieght"])
    assert "1 tensors are meant to be frozen, but not there: m.base.wieght" in [
        row.measured for row in rows
    ]


def test_a_parameter_in_two_optimizers() -> None:
    built = plan_with(lambda o: None)
    built.optimizers["again"] = built.optimizers["m"]
    (row,) = planned.parameters(built, ())
    assert "two optimizers" in row.measured
