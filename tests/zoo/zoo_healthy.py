"""Runs that look bad and are healthy: no rule may speak. Used by curves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from runs import NAN, Run, components

from speech_contract.phases import Phase
from speech_health.samples import Source


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
        fields["losses"] = components(run.dice, 0.02 * beat) | {"total": 8.0 * beat}
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
