"""Checks that need no step: directory, configuration, planned learning rates, parameters. Cheap: made on restarts too.

Called by `preflight.run`.
"""

from __future__ import annotations

import dataclasses
import math
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from speech_contract import codec
from speech_contract.preflight import Check, CheckResult
from speech_contract.run_config import RunConfig
from speech_trainer.engine.expectations import Expectations
from speech_trainer.engine.recipe import Built, OptimizerPlan, unwrap
from speech_trainer.preflight.rows import listed, number, row, warning

POINTS: Final = 200  # of a planned curve
STEPPED: Final = 1000  # updates that a schedule without a closed form is followed for
TRIAL: Final = 200  # updates: a shorter run may well end in its warm-up
LEAST_HEIGHT: Final = (
    0.5  # of the rate that was asked for: a cosine begins before a long warm-up ends
)
LEAST_LENGTH: Final = 0.9  # of the plan, after which a rate of 0 is an end
ABSURD_RATE: Final = 1.0  # an Adam step moves every weight by the rate; weights are below 1
STATES_PER_WEIGHT: Final = 3  # the weight and Adam's two moments
_SAME: Final = 1e-6  # relative difference of two numbers that say the same


def run_directory(run_dir: Path, keep_last: int, needed: int, free: int) -> list[CheckResult]:
    """Can a checkpoint be written, and are there bytes for as many as are kept? `needed`: of one, in bytes."""
    error = _write_probe(run_dir)
    return [
        row(
            Check.RUN_DIRECTORY, "checkpoint.uri", not error, error or "writable", "a writable directory",
            "make the directory writable for this user, or name another one",
        ),
        row(
            Check.RUN_DIRECTORY, "checkpoint.uri, free", free >= needed, _size(free), f"at least {_size(needed)}",
            "free space there or enlarge the volume: not one checkpoint fits",
        ),
        warning(
            Check.RUN_DIRECTORY, "checkpoint.keepLast", free >= needed * (keep_last + 1), _size(free),
            f"{_size(needed * (keep_last + 1))} for {keep_last} checkpoints and the one being written",
            "free space there, enlarge the volume or lower checkpoint.keepLast",
        ),
    ]  # fmt: skip


def checkpoint_bytes(built: Built) -> int:
    """About what one checkpoint takes: frozen weights have no moments."""
    return sum(
        p.numel() * p.element_size() * (STATES_PER_WEIGHT if p.requires_grad else 1)
        for model in built.models.values()
        for p in model.parameters()
    )


def _write_probe(run_dir: Path) -> str:
    """Why nothing can be written; empty when it can."""
    path = run_dir / f".preflight-{uuid.uuid4().hex}"
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    except OSError as error:
        return str(error)
    return ""


def effective_config(
    config: RunConfig, effective: Mapping[str, Any], built: Built, expected: Expectations
) -> list[CheckResult]:
    """What was asked for against what the recipe made of it, and against what the optimizers hold."""
    asked = [(f"{w}.{n}", effective[n], v) for w, n, v in _requested(config) if n in effective]
    remedy = "the recipe changed it: look at its presets and at the fault hook"
    rows = [
        row(Check.EFFECTIVE_CONFIG, field, False, found, wanted, remedy)
        for field, found, wanted in asked
        if not _same(found, wanted)
    ]
    if not rows:
        said = f"{len(asked)} fields as asked"
        rows.append(row(Check.EFFECTIVE_CONFIG, "recipe and training", True, said, "all of them"))
    for optimizer, asked_rate in expected.learning_rates.items():
        plan = built.optimizers[optimizer]
        base = base_rate(plan)
        rows.append(
            row(
                Check.EFFECTIVE_CONFIG, f"{asked_rate.field} of optimizer {optimizer}",
                _same(base, asked_rate.value), number(base), number(asked_rate.value),
                "something sets the optimizer's rate after it was built; the user's rate must stay",
            )
        )  # fmt: skip
    return rows


def _requested(config: RunConfig) -> Iterator[tuple[str, str, Any]]:
    """(prefix, field, value) of everything the manifest says about recipe and training."""
    for field in dataclasses.fields(config.recipe):
        member = getattr(config.recipe, field.name)
        if member is not None:
            for name, value in codec.to_document(member).items():
                yield f"recipe.{codec.camel(field.name)}", name, value
    for name, value in codec.to_document(config.training).items():
        yield "training", name, value


def _same(found: Any, wanted: Any) -> bool:
    try:
        return math.isclose(float(found), float(wanted), rel_tol=_SAME)
    except (TypeError, ValueError):
        return bool(found == wanted)


def base_rate(plan: OptimizerPlan) -> float:
    """The rate that the schedule multiplies."""
    if plan.schedule is not None:
        return float(plan.schedule.base_lrs[0])
    return float(plan.optimizer.param_groups[0]["lr"])


def planned_rates(plan: OptimizerPlan, updates: int) -> list[float]:
    """Rates at up to POINTS updates of the whole plan, the first ones among them."""
    return list(planned_curve(plan, updates).values())


def planned_curve(plan: OptimizerPlan, updates: int) -> dict[int, float]:
    """The same by the number of the update, from 0."""
    schedule = plan.schedule
    if schedule is None:
        return {0: base_rate(plan)}
    if isinstance(schedule, LambdaLR):
        share: Callable[[int], float] = schedule.lr_lambdas[0]
        places = sorted({*range(min(updates, POINTS)), *range(0, updates, 1 + updates // POINTS)})
        return {place: float(schedule.base_lrs[0]) * float(share(place)) for place in places}
    return dict(enumerate(_followed(plan, min(updates, STEPPED))))


def _followed(plan: OptimizerPlan, updates: int) -> list[float]:
    """Step a schedule of another kind through its plan, and put it back."""
    schedule, groups = plan.schedule, plan.optimizer.param_groups
    assert schedule is not None
    kept, state = [group["lr"] for group in groups], schedule.state_dict()
    for group, rate in zip(groups, kept, strict=True):
        group["lr"] = float(rate)
    try:
        found = []
        for _ in range(updates):
            found.append(float(groups[0]["lr"]))
            schedule.step()
        return found
    finally:
        schedule.load_state_dict(state)
        for group, rate in zip(groups, kept, strict=True):
            group["lr"] = rate


def learning_rates(built: Built, max_steps: int) -> list[CheckResult]:
    """The planned curve of every optimizer: finite, never negative, and not 0 all the way."""
    rows: list[CheckResult] = []
    for name, plan in built.optimizers.items():
        updates = max(1, max_steps - plan.active_from + 1)
        curve_of = planned_curve(plan, updates)
        rates = list(curve_of.values())
        peak, sound = max(rates), all(math.isfinite(rate) and rate >= 0 for rate in rates)
        curve = f"{number(rates[0])} rising to {number(peak)}, last {number(rates[-1])}"
        rows.append(
            row(
                Check.LEARNING_RATE, f"planned rate of {name}", sound and peak > 0, curve,
                "finite, not negative, above 0 somewhere",
                "look at learningRate, the warm-up and the schedule: no weight would ever move",
            )
        )  # fmt: skip
        if sound and peak > 0:
            rows.append(
                warning(
                    Check.LEARNING_RATE, f"peak rate of {name}", peak < ABSURD_RATE, number(peak),
                    f"below {ABSURD_RATE:g}", "lower learningRate: one update is larger than the weights",
                )
            )  # fmt: skip
            rows += _course(name, curve_of, base_rate(plan)) if updates >= TRIAL else []
    return rows


def _course(name: str, rates: Mapping[int, float], asked: float) -> list[CheckResult]:
    """A warm-up that outlasts the run, and a schedule that ends before it. `rates` by update."""
    peak, last = max(rates.values()), max(place for place, rate in rates.items() if rate > 0)
    share = (last + 1) / (max(rates) + 1)
    return [
        warning(
            Check.LEARNING_RATE, f"height of {name}", peak >= LEAST_HEIGHT * asked, f"{number(peak)} at most",
            f"at least {LEAST_HEIGHT:.0%} of {number(asked)}",
            "shorten the warm-up, or train longer: the rate that was asked for is never reached",
        ),
        warning(
            Check.LEARNING_RATE, f"length of {name}", share >= LEAST_LENGTH, f"above 0 until {share:.0%} of the run",
            f"above 0 for {LEAST_LENGTH:.0%} of it",
            "make the schedule as long as the training, and step it once an update, whatever the number of ranks",
        ),
    ]  # fmt: skip


def parameters(built: Built, frozen: Collection[str]) -> list[CheckResult]:
    """Every parameter is frozen as `frozen` names it, or trains, in exactly one optimizer, as a float32 master."""
    owners: dict[int, int] = {}
    for plan in built.optimizers.values():
        for group in plan.optimizer.param_groups:
            for parameter in group["params"]:
                owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    named = dict(_named(built))
    meant = [(name, parameter) for name, parameter in named.items() if name not in set(frozen)]
    free = [(name, named[name]) for name in frozen if name in named]
    faults = {
        "are frozen (requires_grad is False)": [n for n, p in meant if not p.requires_grad],
        "belong to no optimizer": [n for n, p in meant if id(p) not in owners],
        "belong to two optimizers": [n for n, p in meant if owners.get(id(p), 0) > 1],
        "are no float32 masters": [n for n, p in meant if p.dtype is not torch.float32],
        "are meant to be frozen, but train": [n for n, p in free if p.requires_grad],
        "are meant to be frozen, but not there": [n for n in frozen if n not in named],
    }
    total = sum(p.numel() for _, p in meant)
    rows = [
        row(
            Check.PARAMETERS, "parameters", False, f"{len(names)} tensors {fault}: {listed(names)}",
            f"all {total} weights train, each in one optimizer, in float32",
            "free or freeze them as Expectations.frozen says, and give the optimizer the parameters of the model "
            "that runs",
        )
        for fault, names in faults.items()
        if names
    ]  # fmt: skip
    said = f"{total} weights of {len(meant)} tensors train"
    said += f", {len(free)} tensors are frozen" if free else ""
    return rows or [row(Check.PARAMETERS, "parameters", True, said, "all of them")]


def still_modules(built: Built, frozen: Collection[str]) -> set[str]:
    """Named modules of which nothing is meant to train: no gradient reaches them, and no update moves them."""
    meant = {id(parameter) for name, parameter in _named(built) if name in frozen}
    return {
        name
        for plan in built.optimizers.values()
        for name, module in plan.modules.items()
        if all(id(parameter) in meant for parameter in module.parameters())
    }


def _named(built: Built) -> Iterator[tuple[str, nn.Parameter]]:
    for model_name, model in built.models.items():
        for name, parameter in unwrap(model).named_parameters():
            yield f"{model_name}.{name}", parameter


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"
