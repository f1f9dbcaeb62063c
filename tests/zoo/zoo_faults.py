"""Faults of the zoo: each spoils a healthy run from a place of its own on. Used by curves."""

from __future__ import annotations

import math
from collections.abc import Callable

from runs import NAN, Run

from speech_contract.progress import Rule


def _where(run: Run) -> int:
    """A place for a fault: after the first reports, early enough to be seen."""
    return run.dice.randint(40, len(run) - 45)


Spoil = Callable[[Run], tuple[Rule, int]]


def nan_at_a_step(run: Run) -> tuple[Rule, int]:
    """From a step on one loss component, or all, is NaN or Inf."""
    at = run.dice.randint(0, len(run) - 25)
    bad = run.dice.choice([NAN, math.inf, -math.inf])
    name = run.dice.choice(list(run.fields[0]["losses"]))
    for index in range(at, len(run)):
        run.fields[index]["losses"][name] = bad
    return Rule.NON_FINITE, at


def nan_in_disguise(run: Run) -> tuple[Rule, int]:
    """A logger that filters NaN: loss 0.0 beside a norm of NaN."""
    at = run.dice.randint(0, len(run) - 25)
    for index in range(at, len(run)):
        run.fields[index].update(losses={"loss": 0.0}, gradient_norm=NAN)
    return Rule.NON_FINITE, at


def zero_from_the_start(run: Run) -> tuple[Rule, int]:
    """Every batch raised and was passed over: the sum stays 0."""
    return _zero(run, 0)


def zero_from_a_step(run: Run) -> tuple[Rule, int]:
    """The labels of every batch are masked from here on."""
    return _zero(run, run.dice.randint(1, len(run) - 25))


def _zero(run: Run, at: int) -> tuple[Rule, int]:
    """No norm, or one of 0: a norm above 0 is a witness that something is learned."""
    with_norm = run.dice.random() < 0.5
    for fields in run.fields[at:]:
        fields["losses"] = dict.fromkeys(fields["losses"], 0.0)
        fields["gradient_norm"] = 0.0 if with_norm else None
    return Rule.ZERO_LOSS, at


def spike_that_stays(run: Run) -> tuple[Rule, int]:
    """The loss jumps, or climbs within a few reports, and stays up."""
    at, height, climb = _where(run), run.dice.scale(6.0, 1000.0), run.dice.randint(1, 4)
    start = run.fields[at - 1]["losses"]
    level = start.get("generator/mel", start.get("loss", 0.0))
    for index in range(at, len(run)):
        rise = height ** min(1.0, (index - at + 1) / climb)
        high = level * rise * run.dice.noise(0.1)
        before = run.fields[index]["losses"]
        run.loss(index, lambda old, before=before, high=high: _shifted(old, before, high))  # type: ignore[misc]
        run.norm(index, lambda norm, rise=rise: norm * run.dice.uniform(0.5, 1.5) * rise**0.5)  # type: ignore[misc]
    return Rule.LOSS_SPIKE, at


def _shifted(old: float, losses: dict[str, float], high: float) -> float:
    return 45.0 * high if old == losses.get("total") else high


def gradient_explosion(run: Run) -> tuple[Rule, int]:
    """The norm grows by a factor a report until it is a thousandfold and more; the loss is still fine."""
    at, growth = _where(run), run.dice.uniform(3.0, 20.0)
    top = run.dice.scale(1e3, 1e8)
    for index in range(at, len(run)):
        rise = min(top, growth ** min(30, index - at + 1))
        run.norm(index, lambda norm, rise=rise: norm * rise)  # type: ignore[misc]
    return Rule.GRADIENT_SPIKE, at


def clamped_component(run: Run) -> tuple[Rule, int]:
    """min(loss, bound): the component stands at its bound, from the start or from a step on."""
    at = run.dice.choice([0, run.dice.randint(1, len(run) - 25)])
    bound = run.dice.choice([10.0, 80.0, 1.0, 100.0, run.dice.uniform(1.0, 100.0)])
    for fields in run.fields:
        if len(fields["losses"]) == 1:
            fields["losses"]["loss/vq"] = run.dice.uniform(0.2, 0.9)
    names = [n for n in run.fields[0]["losses"] if n not in ("total", "loss")]
    name = run.dice.choice(names)
    for fields in run.fields[at:]:
        fields["losses"][name] = bound
    return Rule.CONSTANT_COMPONENT, at


def zero_gradient(run: Run) -> tuple[Rule, int]:
    """No backward(), or a detached loss."""
    at = run.dice.choice([0, run.dice.randint(1, len(run) - 25)])
    for fields in run.fields[at:]:
        fields["gradient_norm"] = 0.0
    return Rule.NO_GRADIENT, at


def dead_module(run: Run) -> tuple[Rule, int]:
    """An objective that never reaches two of the modules."""
    for index, fields in enumerate(run.fields[:5]):
        fields["missing_gradients"] = ["flow", "text_encoder"] + (["decoder"] if index else [])
    return Rule.NO_GRADIENT, 0


def skipped_samples(run: Run) -> tuple[Rule, int]:
    """From a step on a share of the files can't be read, and the loader replaces them."""
    at, share = run.dice.randint(0, len(run) - 45), run.dice.uniform(0.3, 1.0)
    run.every, asked = 1, 16
    skipped = trained = 0
    for index, fields in enumerate(run.fields):
        bad = round(asked * share) if index >= at else 0
        skipped, trained = skipped + bad, trained + asked - bad
        fields.update(skipped={"DecodeError": skipped}, samples_total=trained)
    return Rule.SKIPPED_SAMPLES, at


FAULTS: dict[str, Spoil] = {
    spoil.__name__.replace("_", " "): spoil
    for spoil in (
        nan_at_a_step, nan_in_disguise, zero_from_the_start, zero_from_a_step, spike_that_stays,
        gradient_explosion, clamped_component, zero_gradient, dead_module, skipped_samples,
    )
}  # fmt: skip
