"""How a run comes along: faults that no single report shows, and sound runs that look like them. Used by curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

from runs import NAN, WITHIN, Run

from speech_contract.progress import Rule

Spoil = Callable[[Run], tuple[Rule, int]]


def _alone(run: Run) -> None:
    """One loss, as a script reports that trains one thing."""
    for fields in run.fields:
        fields["losses"] = {"loss": next(iter(fields["losses"].values()))}


def _evaluate(run: Run, loss: Callable[[int, float], float]) -> list[int]:
    """Every few reports held-out scores, repeated in the reports between. The reports that brought new ones."""
    every, scores, at = run.dice.randint(2, 5), None, []
    for index, fields in enumerate(run.fields):
        if index and index % every == 0:
            newest = [
                next(iter(f["losses"].values())) for f in run.fields[max(0, index - 20) : index]
            ]
            held = 1.1 * statistics.median(newest) * run.dice.noise(0.02)
            right = run.dice.choice([0.87, 0.88, 0.88, 0.88])
            scores = {"eval_loss": loss(index, held), "eval_accuracy": right}
            at.append(index)
            fields["evaluated"] = True
        fields["evaluation"] = scores
    return at


def rate_that_ended(run: Run) -> tuple[Rule, int]:
    """The schedule is over in the middle of the run: a rate of 0 from here on, and the loss only wanders."""
    at = run.dice.randint(1, len(run) - 45)
    level = dict(run.fields[at]["losses"])
    for fields in run.fields[at:]:
        fields["learning_rate"] = 0.0
        fields["losses"] = {name: value * run.dice.noise(0.03) for name, value in level.items()}
    return Rule.NOT_UPDATING, at


def schedule_never_stepped(run: Run) -> tuple[Rule, int]:
    """A warm-up from 0 that nobody steps."""
    run.within = 3 * WITHIN
    for fields in run.fields:
        fields["learning_rate"] = 0.0
        first = run.fields[0]["losses"]
        fields["losses"] = {name: value * run.dice.noise(0.02) for name, value in first.items()}
    return Rule.NOT_UPDATING, 0


def evaluations_not_finite(run: Run) -> tuple[Rule, int]:
    """The held-out loss is a mean over nothing, from an evaluation on; training is sound."""
    start = run.dice.randint(0, len(run) - 45)
    at = _evaluate(run, lambda index, held: NAN if index >= start else held)
    return Rule.NON_FINITE, next(index for index in at if index >= start)


def evaluations_of_another_model(run: Run) -> tuple[Rule, int]:
    """What is evaluated is a copy that nobody updates: the same held-out loss to the bit."""
    value = run.dice.uniform(0.5, 5.0)
    run.within = 5 * 4
    return Rule.NOT_UPDATING, _evaluate(run, lambda index, held: value)[0]


def diverged_at_once(run: Run) -> tuple[Rule, int]:
    """Within the first reports the loss leaps up, and never comes down."""
    _alone(run)
    at, height = run.dice.randint(1, 6), run.dice.scale(4.0, 60.0)
    level = run.dice.uniform(1.0, 3.0)
    for index, fields in enumerate(run.fields):
        fields["losses"]["loss"] = level * (height if index >= at else 1.0) * run.dice.noise(0.08)
    run.within = 31
    return Rule.LOSS_SPIKE, at


def explosion_beside_infinity(run: Run) -> tuple[Rule, int]:
    """An infinite norm beside a loss of millions, once: the loss comes down, the weights are gone."""
    _alone(run)
    at = run.dice.randint(20, len(run) - 25)
    for fields in run.fields:
        fields["non_finite_steps"] = None
    run.fields[at]["gradient_norm"] = math.inf
    run.fields[at]["losses"]["loss"] *= run.dice.scale(1e4, 1e20)
    return Rule.NON_FINITE, at


def guess_from_the_start(run: Run) -> tuple[Rule, int]:
    """Labels that have nothing to do with the input: ln V with next to no noise."""
    classes, sigma = run.dice.choice([2, 256, 1024, 32000, 51865]), run.dice.scale(1e-4, 5e-3)
    rate = run.dice.scale(1e-5, 1e-3)
    run.fields = [dict(run.fields[0]) for _ in range(run.dice.randint(220, 400))]
    for fields in run.fields:
        fields["losses"] = {"loss": math.log(classes) * run.dice.noise(sigma)}
        fields.update(learning_rate=rate, gradient_norm=0.01 * run.dice.noise(0.3))
    run.within = 208
    return Rule.PLATEAU, 0


def steps_that_slow_down(run: Run) -> tuple[Rule, int]:
    """From a step on each takes four times as long and more."""
    _alone(run)
    at, factor = run.dice.randint(70, len(run) - 60), run.dice.uniform(4.0, 30.0)
    usual = run.dice.scale(0.01, 30.0)
    for index, fields in enumerate(run.fields):
        fields["step_seconds"] = usual * run.dice.noise(0.2) * (factor if index >= at else 1.0)
    run.within = 50
    return Rule.SLOWDOWN, at


def rate_printed_as_zero(run: Run) -> None:
    """A cosine written with six decimals: its tail reads 0 while the run still learns a little, or no more."""
    peak = run.dice.scale(1e-6, 1e-4)
    for index, fields in enumerate(run.fields):
        wave = 0.5 * (1 + math.cos(math.pi * index / len(run)))
        fields["learning_rate"] = round(peak * wave, 6)
        fields["losses"] = {name: round(value, 4) for name, value in fields["losses"].items()}
        fields.update(gradient_norm=round(fields["gradient_norm"], 4), updates=None)


def scores_that_count(run: Run) -> None:
    """Accuracies repeat, a perplexity begins beyond all bounds, one evaluation of the loss is infinite."""
    at = _evaluate(run, lambda index, held: held)
    for index, fields in enumerate(run.fields):
        if fields["evaluation"] is not None:
            held = fields["evaluation"]["eval_loss"]
            early = index < at[1]
            fields["evaluation"] = fields["evaluation"] | {
                "eval_perplexity": math.inf if early else math.exp(min(held, 700.0)),
                "eval_wer": 1.0,
            }


def rise_that_falls_again(run: Run) -> None:
    """A hard start: the loss leaps up within its first reports, and comes down from there."""
    _alone(run)
    at, height, slow = run.dice.randint(1, 4), run.dice.uniform(2.0, 8.0), run.dice.uniform(8, 25)
    for index in range(at, len(run)):
        rise = 1 + (height - 1) * math.exp(-(index - at) / slow)
        run.loss(index, lambda loss, rise=rise: loss * rise)  # type: ignore[misc]


def adversary_at_its_balance(run: Run) -> None:
    """A discriminator at 2 ln 2, a generator whose loss rises from its first reports on; nothing falls, all is well."""
    top = run.dice.uniform(2.0, 6.0)
    for index, fields in enumerate(run.fields):
        rise = 0.7 + top * (1 - math.exp(-index / 6.0))
        fields["losses"] = {
            "loss": 2 * math.log(2) * run.dice.noise(0.004),
            "loss_d": 2 * math.log(2) * run.dice.noise(0.004),
            "loss_g": rise * run.dice.noise(0.1),
        }


def tuned_on_its_plateau(run: Run) -> None:
    """A pretrained model that has little to learn: level and noise as at the start, to the end."""
    level, sigma = run.dice.scale(0.3, 4.0), run.dice.uniform(0.03, 0.15)
    for fields in run.fields:
        fields["losses"] = {"loss": level * run.dice.noise(sigma)}


def longer_and_longer(run: Run) -> None:
    """Utterances grow tenfold, and so do steps; a pause for a neighbour now and then; a part that starts late."""
    audio, kind = 0.0, run.dice.randrange(3)
    for index, fields in enumerate(run.fields):
        fields["step_seconds"] = run.dice.noise(0.3)
        if kind == 0:
            long = 1.0 + 9.0 * index / len(run)
            audio += run.every * 60.0 * long
            fields["step_seconds"] *= long
            fields["audio_seconds_total"] = audio
        elif kind == 1 and index % 100 > 70:
            fields["step_seconds"] *= 5.0
        elif kind == 2:
            on = index > len(run) // 2
            fields["step_seconds"] *= 4.0 if on else 1.0
            fields["losses"]["discriminator/late"] = 2.0 * run.dice.noise(0.2) if on else 0.0


FAULTS: dict[str, Spoil] = {
    spoil.__name__.replace("_", " "): spoil
    for spoil in (
        rate_that_ended, schedule_never_stepped, evaluations_not_finite, evaluations_of_another_model,
        diverged_at_once, explosion_beside_infinity, guess_from_the_start, steps_that_slow_down,
    )
}  # fmt: skip
HEALTHY: dict[str, Callable[[Run], None]] = {
    sound.__name__.replace("_", " "): sound
    for sound in (
        rate_printed_as_zero, scores_that_count, rise_that_falls_again, adversary_at_its_balance,
        tuned_on_its_plateau, longer_and_longer,
    )
}  # fmt: skip
