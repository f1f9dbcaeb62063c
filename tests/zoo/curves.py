"""The zoo of curves: seeded generators of runs with one planted fault, and of runs that only look bad.

`FAULTS` and `HEALTHY` name every kind; `make(kind, seed)` builds one. Used by tests/zoo/test_curves.py with
fixed seeds and by benchmarks/accept_health.py with fresh ones. Generators draw scale, noise, length, decay and
cadence at random, so that no threshold can be fitted to one picture.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

from speech_contract.phases import Phase
from speech_contract.progress import Rule
from speech_health.samples import Source, StepSample

NAN = math.nan
WITHIN = 20  # reports after the plant in which its rule must have spoken


@dataclasses.dataclass
class Curve:
    """One run. `planted` indexes the first bad report; `rule` is the one that must name it."""

    kind: str
    samples: list[StepSample]
    rule: Rule | None = None
    planted: int = 0


class Dice(random.Random):
    """Draws that curves are made of."""

    def scale(self, low: float, high: float) -> float:
        """Log-uniform."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def noise(self, sigma: float) -> float:
        """A positive factor round 1."""
        return math.exp(self.gauss(0.0, sigma))


@dataclasses.dataclass
class Run:
    """A healthy run that each kind then spoils or decorates: per report its fields, and its cadence."""

    dice: Dice
    fields: list[dict[str, Any]]
    every: int
    seconds: float = 1.0
    source: Source = Source.REPORTER
    gated: bool = False

    def samples(self) -> list[StepSample]:
        """Steps and times are filled in where the kind set none."""
        made, now = [], 0.0
        for number, fields in enumerate(self.fields, start=1):
            now += fields.pop("after", self.seconds * self.every)
            fields.setdefault("step", number * self.every)
            made.append(
                StepSample(
                    time=now, now=now, rank=0, source=self.source, gated=self.gated, **fields
                )
            )
        return made

    def __len__(self) -> int:
        return len(self.fields)

    def loss(self, index: int, change: Callable[[float], float]) -> None:
        """Change the headline (and the component behind it) of one report."""
        losses = self.fields[index]["losses"]
        for name in ("total", "loss", "generator/mel"):
            if name in losses:
                losses[name] = change(losses[name])

    def norm(self, index: int, change: Callable[[float], float]) -> None:
        """Change the gradient norm of one report."""
        self.fields[index]["gradient_norm"] = change(self.fields[index]["gradient_norm"])


def base(dice: Dice, reports: int = 0) -> Run:
    """A run that learns: losses fall with noise, the norm is noisier, the rate warms up and decays."""
    reports = reports or dice.randint(150, 400)
    gan, every = dice.random() < 0.5, dice.choice([1, 1, 1, 1, 5, 10])
    top, floor = dice.scale(0.5, 150.0), dice.uniform(0.1, 0.6)
    speed, sigma = dice.uniform(5.0, 80.0), dice.uniform(0.01, 0.15)
    norm, norm_sigma = dice.scale(0.05, 200.0), dice.uniform(0.1, 0.5)
    rate, warm = dice.scale(1e-5, 1e-2), dice.randint(1, 40)
    fields = []
    for index in range(reports):
        level = top * (floor + (1 - floor) * math.exp(-index / speed))
        loss = level * dice.noise(sigma)
        fields.append(
            {
                "losses": _components(dice, loss) if gan else {"loss": loss},
                "gradient_norm": norm * math.sqrt(level / top) * dice.noise(norm_sigma),
                "learning_rate": rate * min(1.0, (index + 1) / warm) * (1 - 0.5 * index / reports),
                "updates": (index + 1) * every,
                "non_finite_steps": 0,
                "samples_total": (index + 1) * every * 16,
                "skipped": {},
            }
        )
    return Run(dice, fields, every)


def _components(dice: Dice, mel: float) -> dict[str, float]:
    kl, adversarial = dice.uniform(0.5, 2.0), 2.0 * dice.noise(0.3)
    return {
        "total": 45.0 * mel + kl + adversarial,
        "generator/mel": mel,
        "generator/kl": kl,
        "generator/adversarial": adversarial,
        "discriminator/loss": 2.0 * dice.noise(0.4),
    }


def _where(run: Run) -> int:
    """A place for a fault: after the first reports, early enough to be seen."""
    return run.dice.randint(40, len(run) - 45)


Spoil = Callable[[Run], tuple[Rule, int]]


# -- faults ------------------------------------------------------------------------------------------------------


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
    with_norm = run.dice.random() < 0.5
    for fields in run.fields[at:]:
        fields["losses"] = dict.fromkeys(fields["losses"], 0.0)
        fields["gradient_norm"] = fields["gradient_norm"] if with_norm else None
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


# -- healthy, though ugly ----------------------------------------------------------------------------------------


def plain(run: Run) -> None:
    """Nothing special."""


def spikes_that_heal(run: Run) -> None:
    """Up to twentyfold, for a few reports, again and again."""
    longest = 8 if run.every == 1 else 3
    for at in range(run.dice.randint(0, 60), len(run) - 10, run.dice.randint(20, 100)):
        height = run.dice.uniform(2.0, 20.0)
        for index in range(at, at + run.dice.randint(1, longest)):
            run.loss(index, lambda loss, height=height: loss * height)  # type: ignore[misc]
            run.norm(index, lambda norm, height=height: norm * height)  # type: ignore[misc]


def curriculum_jump(run: Run) -> None:
    """Longer utterances, another language: the level rises for good by up to 70 per cent."""
    for at in range(run.dice.randint(10, 100), len(run), run.dice.randint(80, 300)):
        jump = run.dice.uniform(1.1, 1.7)
        for index in range(at, len(run)):
            back = 1.0 + (jump - 1.0) * math.exp(-(index - at) / 60.0)
            run.loss(index, lambda loss, back=back: loss * back)  # type: ignore[misc]


def resumed(run: Run) -> None:
    """The step counter goes back to a checkpoint; for some reports the loss is higher."""
    at, back = run.dice.randint(30, len(run) - 1), run.dice.randint(1, 25)
    for index in range(at, len(run)):
        run.fields[index]["step"] = (index + 1 - back) * run.every
        warm = 1.0 + 0.6 * math.exp(-(index - at) / 10.0)
        run.loss(index, lambda loss, warm=warm: loss * warm)  # type: ignore[misc]


def log_gaps(run: Run) -> None:
    """Lines are missing: long stretches and single reports; values left out."""
    kept: list[dict[str, Any]] = []
    gap = 0
    for index, fields in enumerate(run.fields):
        fields["step"] = (index + 1) * run.every
        if gap == 0 and run.dice.random() < 0.02:
            gap = run.dice.randint(1, 40)
        if gap:
            gap -= 1
            continue
        if run.dice.random() < 0.3:
            fields[run.dice.choice(["losses", "gradient_norm", "learning_rate"])] = None
        kept.append(fields)
    run.fields = kept


def evaluation_pauses(run: Run) -> None:
    """Minutes without a step, announced; the report of the pause carries nothing."""
    fields: list[dict[str, Any]] = []
    for index, report in enumerate(run.fields):
        report["step"] = (index + 1) * run.every
        fields.append(report)
        if index % 50 == 49:
            pause = {"step": report["step"], "phase": Phase.EVALUATION, "after": 300.0}
            fields.append(pause)
    run.fields = fields


def tiny_losses(run: Run) -> None:
    """One batch learned by heart: down to 1e-9, over decades up and down, never exactly 0."""
    depth, speed = run.dice.uniform(12.0, 18.0), run.dice.uniform(20.0, 60.0)
    for index in range(len(run)):
        fall = math.exp(-depth * (1 - math.exp(-index / speed))) * run.dice.noise(0.8)
        run.loss(index, lambda loss, fall=fall: loss * fall)  # type: ignore[misc]
        run.norm(index, lambda norm, fall=fall: norm * fall)  # type: ignore[misc]


def negative_losses(run: Run) -> None:
    """A likelihood that falls through zero, or a critic's loss round it."""
    critic, spread = run.dice.random() < 0.5, run.dice.scale(0.01, 5.0)
    depth = run.dice.scale(1.0, 50.0)
    for index, fields in enumerate(run.fields):
        level = 0.0 if critic else depth * (math.exp(-index / 50.0) - 0.7)
        fields["losses"] = {"loss": level + run.dice.gauss(0.0, spread)}


def noisy_gan(run: Run) -> None:
    """Adversarial losses and norms that beat slowly and jump, by far more than they fall."""
    period, swing = run.dice.uniform(15.0, 120.0), run.dice.uniform(0.1, 0.5)
    for index, fields in enumerate(run.fields):
        beat = math.exp(swing * math.sin(index / period * 2 * math.pi) + run.dice.gauss(0.0, 0.35))
        fields["losses"] = _components(run.dice, 0.02 * beat) | {"total": 8.0 * beat}
        fields["gradient_norm"] = 20.0 * beat * run.dice.noise(0.8)


def epochs_of_a_second(run: Run) -> None:
    """A small data set: the loss saws with each short epoch."""
    run.seconds, epoch = 0.02, run.dice.randint(3, 12)
    saw = run.dice.uniform(0.1, 0.4)
    for index in range(len(run)):
        factor = 1.0 - saw * (index % epoch) / epoch
        run.loss(index, lambda loss, factor=factor: loss * factor)  # type: ignore[misc]


def scaler_overflow(run: Run) -> None:
    """A loss scaler finds its scale: infinite norms beside sound losses, in bursts."""
    for fields in run.fields:
        fields["non_finite_steps"] = None
    at = 0
    while at < len(run) - 20:
        for index in range(at, at + run.dice.randint(1, 16 if at == 0 else 2)):
            run.fields[index]["gradient_norm"] = run.dice.choice([math.inf, NAN])
        at += run.dice.randint(30, 100)


def late_part(run: Run) -> None:
    """A discriminator that starts late: 0 before, and the total jumps when it comes; announced or not."""
    at, announced = run.dice.randint(10, len(run) - 5), run.dice.random() < 0.5
    weight, scale = run.dice.uniform(0.5, 10.0), 0.0
    for index, fields in enumerate(run.fields):
        mel = next(iter(fields["losses"].values()))
        scale = scale or mel
        on = index >= at
        judged = weight * scale * run.dice.noise(0.2) if on else 0.0
        fields["losses"] = {
            "total": mel + judged,
            "generator/mel": mel,
            "discriminator/loss": 2.0 * run.dice.noise(0.3) if on else 0.0,
            "generator/adversarial": judged,
        }
        if on:
            fields["gradient_norm"] *= 1.0 + weight
        if announced:
            fields["active_from"] = {"discriminator": (at + 1) * run.every}


def warm_up(run: Run) -> None:
    """The rate rises over most of the run; the norm swells with it, fivefold and more."""
    swell, rate = run.dice.uniform(1.0, 8.0), run.dice.scale(1e-5, 1e-3)
    for index, fields in enumerate(run.fields):
        share = (index + 1) / len(run)
        fields["learning_rate"] = rate * share
        fields["gradient_norm"] *= 1.0 + (swell - 1.0) * share


def rounded_log(run: Run) -> None:
    """What a printer leaves: few digits, plateaus that repeat, half precision."""
    half, digits = run.dice.random() < 0.3, run.dice.randint(2, 4)
    for fields in run.fields:
        loss = next(iter(fields["losses"].values()))
        value = round(loss, digits) or 10.0**-digits
        if half:
            mantissa, exponent = math.frexp(loss)
            value = math.ldexp(round(mantissa * 256) / 256, exponent)
        fields["losses"] = {"loss": value, "aux": 0.69140625 if half else 0.6931}
    run.source = run.dice.choice(list(Source))


def lazy_penalty(run: Run) -> None:
    """A regularizer of every 16th step, repeated between, and one that is switched off."""
    value = 0.0
    for index, fields in enumerate(run.fields):
        if index % 16 == 0:
            value = run.dice.uniform(0.1, 2.0)
        fields["losses"] |= {"discriminator/r1": value, "generator/off": 0.0}


def frozen_start(run: Run) -> None:
    """The first reports have a rate of 0 and say the same until it rises."""
    for fields in run.fields[: run.dice.randint(5, 40)]:
        fields.update(learning_rate=0.0, losses=dict(run.fields[0]["losses"]))


def few_skips(run: Run) -> None:
    """Some files can't be read: about one in five hundred."""
    skipped = 0
    for index, fields in enumerate(run.fields):
        asked = (index + 1) * run.every * 16
        skipped += sum(run.dice.random() < 0.002 for _ in range(run.every * 16))
        fields.update(skipped={"TooShort": skipped}, samples_total=asked - skipped)


HEALTHY: dict[str, Callable[[Run], None]] = {
    ugly.__name__.replace("_", " "): ugly
    for ugly in (
        plain, spikes_that_heal, curriculum_jump, resumed, log_gaps, evaluation_pauses, tiny_losses,
        negative_losses, noisy_gan, epochs_of_a_second, scaler_overflow, late_part, warm_up, rounded_log,
        lazy_penalty, frozen_start, few_skips,
    )
}  # fmt: skip


def make(kind: str, seed: int) -> Curve:
    """Build one curve; the same kind and seed give the same curve."""
    dice = Dice(f"{kind}/{seed}")
    run = base(dice)
    if kind in FAULTS:
        rule, planted = FAULTS[kind](run)
        return Curve(kind, run.samples(), rule, planted)
    HEALTHY[kind](run)
    return Curve(kind, run.samples())


def draw(number: int, seed: int) -> Iterator[Curve]:
    """`number` curves, every kind in turn, each with a seed of its own."""
    kinds = [*FAULTS, *HEALTHY]
    for index in range(number):
        yield make(kinds[index % len(kinds)], seed * 1_000_003 + index)
