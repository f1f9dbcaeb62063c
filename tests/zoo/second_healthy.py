"""Ugly and healthy runs of a second hand, after shapes of real ones: no rule may speak. Used by curves."""

from __future__ import annotations

import math
from collections.abc import Callable

from runs import NAN, Run
from second_runs import half, tailed

from speech_contract.phases import Phase
from speech_health.samples import Source


def half_precision_plateau(run: Run) -> None:
    """A component computed in bfloat16 that settles: a handful of values, the same for long stretches."""
    bits, level = run.dice.choice([8, 8, 11]), run.dice.scale(0.02, 12.0)
    sigma, wander = run.dice.uniform(0.001, 0.004), 0.0
    for index, fields in enumerate(run.fields):
        wander = 0.9 * wander + run.dice.gauss(0.0, sigma)
        fall = 1.0 + 2.0 * math.exp(-index / 12.0)
        fields["losses"]["loss/commitment"] = half(level * fall * math.exp(wander), bits)


def four_decimals(run: Run) -> None:
    """Printed with four decimals; a component of a few ten-thousandths prints the same digits again and again."""
    small = run.dice.scale(1e-4, 2e-3)
    for index, fields in enumerate(run.fields):
        loss = fields["losses"]["loss"]
        drift = small * (1.0 + 4.0 * math.exp(-index / 30.0)) * run.dice.noise(0.05)
        fields["losses"] = {"loss": round(loss, 4), "duration": round(drift, 4)}
    run.source = Source.STDOUT


def printed_to_zero(run: Run) -> None:
    """Overfit until four printed decimals show 0.0000: a tiny loss, not a missing one."""
    speed, floor = run.dice.uniform(6.0, 25.0), run.dice.scale(1e-6, 4e-5)
    top, told = run.fields[0]["losses"]["loss"], run.dice.random() < 0.5
    for index, fields in enumerate(run.fields):
        loss = (floor + top * math.exp(-index / speed)) * run.dice.noise(0.3)
        fields["losses"] = {"loss": round(loss, 4)}
        fields["gradient_norm"] = round(loss * run.dice.noise(0.5), 6) or 1e-6 if told else None
    run.source = Source.STDOUT


def clipped_norm(run: Run) -> None:
    """The logged norm is the one after clipping: 1.0, report after report."""
    bound = run.dice.choice([1.0, 0.5, 5.0, 10.0])
    free = run.dice.randint(len(run) // 2, len(run) * 2)
    for index, fields in enumerate(run.fields):
        below = index > free and run.dice.random() < 0.3
        fields["gradient_norm"] = bound * run.dice.uniform(0.6, 1.0) if below else bound


def accumulation(run: Run) -> None:
    """Each micro-step is reported: same step and norm several times, updates only at the last."""
    micro = run.dice.choice([2, 4, 8])
    norm = run.fields[0]["gradient_norm"]
    for index, fields in enumerate(run.fields):
        step = index // micro
        if index % micro == micro - 1:
            norm = fields["gradient_norm"]
        fields.update(step=step, updates=step, gradient_norm=norm)
        fields["losses"]["loss"] /= micro


def low_rank(run: Run) -> None:
    """Adapters: norms of 1e-9 to 1e-4 that grow up to thirtyfold while the rate rises."""
    low, growth = run.dice.scale(1e-9, 1e-4), run.dice.scale(1.5, 30.0)
    warm = run.dice.randint(20, 100)
    for index, fields in enumerate(run.fields):
        share = min(1.0, (index + 1) / warm)
        fields["learning_rate"] = 1e-4 * share
        fields["gradient_norm"] = low * growth**share * tailed(run.dice, 0.25)


def annealed_kl(run: Run) -> None:
    """The weight of the KL term rises from 0: the component is 0.0 for long, then part of the total."""
    start, length = run.dice.randint(5, 60), run.dice.randint(20, 150)
    nats = run.dice.uniform(0.05, 0.6) * run.fields[-1]["losses"]["loss"]
    for index, fields in enumerate(run.fields):
        weight = min(1.0, max(0.0, (index - start) / length))
        kl = weight * nats * (1 + math.exp(-index / 100.0)) * run.dice.noise(0.08)
        loss = fields["losses"]["loss"]
        fields["losses"] = {"total": loss + kl, "reconstruction": loss, "kl": kl}


def ctc_zero_infinity(run: Run) -> None:
    """CTC with zero_infinity: utterances too short for their text count 0, some batches as a whole."""
    share = run.dice.uniform(0.01, 0.12)
    for index, fields in enumerate(run.fields):
        whole = index > 0 and run.dice.random() < share
        ctc = 0.0 if whole else fields["losses"]["loss"] * run.dice.uniform(0.5, 1.1)
        fields["losses"] = {"loss": 0.3 * ctc + 0.7 * fields["losses"]["loss"], "ctc": ctc}


def only_ctc_and_a_batch_of_zeros(run: Run) -> None:
    """CTC alone: a whole batch of utterances too short for their text, once in a while: loss 0, norm 0."""
    for fields in run.fields[1:]:
        if run.dice.random() < 0.02:
            fields.update(losses={"loss": 0.0}, gradient_norm=0.0)


def warm_restarts(run: Run) -> None:
    """Cosine cycles: each restart of the rate throws the loss up by half or more, the norm with it."""
    cycle, kick = run.dice.randint(30, 110), run.dice.uniform(1.2, 2.2)
    peak = run.dice.scale(1e-5, 1e-2)
    for index in range(len(run)):
        place = index % cycle
        wave = 0.5 * (1 + math.cos(math.pi * place / cycle))
        run.fields[index]["learning_rate"] = peak * max(wave, 1e-6)
        if index >= cycle:
            high = 1.0 + (kick - 1.0) * math.exp(-place / (cycle / 4))
            run.loss(index, lambda loss, high=high: loss * high)  # type: ignore[misc]
            run.norm(index, lambda norm, high=high: norm * high * high)  # type: ignore[misc]


def calm_then_bump(run: Run) -> None:
    """A plateau as flat as a table, then other data: a few per cent more, thirty times the noise."""
    at, level = run.dice.randint(60, len(run) - 20), run.dice.scale(0.1, 50.0)
    bump, sigma = run.dice.uniform(1.05, 1.6), run.dice.scale(1e-5, 3e-3)
    for index, fields in enumerate(run.fields):
        high = bump if index >= at else 1.0
        fields["losses"]["loss"] = level * high * run.dice.noise(sigma)
        fields["gradient_norm"] = 0.3 * high**3 * run.dice.noise(sigma * 3)


def last_batch_of_the_epoch(run: Run) -> None:
    """The epoch's last batch holds one or two utterances: loss threefold, norm eightfold, once an epoch."""
    epoch, high = run.dice.randint(4, 60), run.dice.uniform(1.5, 3.5)
    for index in range(epoch - 1, len(run), epoch):
        rise = high * run.dice.noise(0.2)
        run.loss(index, lambda loss, rise=rise: loss * rise)  # type: ignore[misc]
        run.norm(index, lambda norm, rise=rise: norm * rise * rise)  # type: ignore[misc]


def sorted_by_length(run: Run) -> None:
    """A loss summed over frames, utterances sorted by length: it climbs fourfold in an epoch and falls back."""
    epoch, longest = run.dice.randint(25, 130), run.dice.uniform(1.5, 4.0)
    shuffled = run.dice.random() < 0.5
    for index in range(len(run)):
        first = index < epoch or not shuffled
        place = (index % epoch) / epoch if first else run.dice.random()
        rise = longest**place
        run.loss(index, lambda loss, rise=rise: loss * rise)  # type: ignore[misc]
        run.norm(index, lambda norm, rise=rise: norm * rise)  # type: ignore[misc]


def batches_of_one(run: Run) -> None:
    """One utterance a step: the loss is a lottery with heavy tails."""
    sigma = run.dice.uniform(0.4, 0.75)
    for index in range(len(run)):
        luck = run.dice.noise(sigma)
        run.loss(index, lambda loss, luck=luck: loss * luck)  # type: ignore[misc]
        run.norm(index, lambda norm, luck=luck: norm * luck * tailed(run.dice, 0.5))  # type: ignore[misc]


def hump(run: Run) -> None:
    """Double descent: up by a factor of two and a half over a hundred reports, and down again."""
    centre, width = run.dice.randint(70, len(run) - 40), run.dice.uniform(20.0, 50.0)
    height = run.dice.uniform(1.3, 2.5)
    for index in range(len(run)):
        rise = 1 + (height - 1) * math.exp(-(((index - centre) / width) ** 2))
        run.loss(index, lambda loss, rise=rise: loss * rise)  # type: ignore[misc]


def two_optimizers(run: Run) -> None:
    """Generator and discriminator report in turn, each only its own parts; scales differ thirtyfold."""
    first = run.dice.random() < 0.5
    for index, fields in enumerate(run.fields):
        loss = fields["losses"]["loss"]
        if (index % 2 == 0) == first:
            fields["losses"] = {"discriminator/loss": 2.0 * run.dice.noise(0.3)}
        else:
            fields["losses"] = {
                "generator/mel": loss * 30.0,
                "generator/kl": run.dice.uniform(1, 2),
            }


def tasks_in_turn(run: Run) -> None:
    """Two tasks in turn under one name `loss`, up to four steps each: text at 2, spectrograms at 20."""
    ratio, cycle = run.dice.uniform(2.0, 10.0), run.dice.randint(2, 5)
    dear = run.dice.randint(1, cycle - 1)
    for index in range(len(run)):
        if index % cycle < dear:
            run.loss(index, lambda loss: loss * ratio)
            run.norm(index, lambda norm: norm * ratio)


def critic(run: Run) -> None:
    """Wasserstein: parts of either sign, heavy tails, a total that crosses zero; the norm beats slowly."""
    spread, period = run.dice.scale(0.05, 20.0), run.dice.uniform(20.0, 90.0)
    for index, fields in enumerate(run.fields):
        wave = math.sin(index / period * 2 * math.pi)
        score = spread * (wave + run.dice.gauss(0.0, 0.5) * (3 if run.dice.random() < 0.05 else 1))
        fields["losses"] = {"total": score + 0.1, "critic": -score, "generator": score}
        fields["gradient_norm"] = spread * math.exp(0.6 * wave) * tailed(run.dice, 0.4)


def adversary_comes_late(run: Run) -> None:
    """The discriminator starts late and unannounced: total threefold, norm tenfold, both noisy for good."""
    at, weight = run.dice.randint(40, len(run) - 30), run.dice.uniform(0.5, 2.5)
    scale = run.fields[at]["losses"]["loss"]
    for index, fields in enumerate(run.fields):
        loss, on = fields["losses"]["loss"], index >= at
        judged = weight * scale * run.dice.noise(0.35) if on else 0.0
        fields["losses"] = {"total": loss + judged, "generator/mel": loss}
        if on:
            fields["losses"] |= {
                "generator/adversarial": judged,
                "discriminator/loss": run.dice.uniform(1, 3),
            }
            fields["gradient_norm"] *= (1 + 3 * weight) * run.dice.noise(0.4)


def resumed_twice(run: Run) -> None:
    """Steps go back to a checkpoint, a pause to load, counters begin anew; the optimizer's memory is cold."""
    for at in sorted(run.dice.sample(range(30, len(run) - 5), 2)):
        back = run.dice.randint(1, 25)
        first = run.fields[at]["updates"] - run.every
        for index in range(at, len(run)):
            fields = run.fields[index]
            fields["step"] = fields.get("step", (index + 1) * run.every) - back * run.every
            fields["updates"] -= first
            fields["samples_total"] = fields["updates"] * 16
            cold = 1.0 + 0.8 * math.exp(-(index - at) / 8.0)
            run.loss(index, lambda loss, cold=cold: loss * cold)  # type: ignore[misc]
        run.fields[at]["after"] = run.seconds * run.every + run.dice.uniform(5.0, 50.0)


def first_loss_for_long(run: Run) -> None:
    """Preferences begin at ln 2 and print 0.6931 until the rate has risen."""
    still = run.dice.randint(2, 15)
    for index, fields in enumerate(run.fields):
        moved = max(0, index - still)
        loss = math.log(2) * math.exp(-moved / 80.0) * (run.dice.noise(0.05) if moved else 1.0)
        fields["losses"] = {"loss": round(loss, 4)}
        fields["learning_rate"] = 5e-7 * min(1.0, (index + 1) / (3 * still))
    run.source = Source.STDOUT


def scaler_bursts(run: Run) -> None:
    """The scaler halves from 65536, later doubles too far: infinite norms while losses are sound, no update."""
    for fields in run.fields:
        fields["non_finite_steps"] = None
    bursts = [(0, run.dice.randint(3, 17))]
    bursts += [
        (at, run.dice.randint(1, 4)) for at in range(40, len(run) - 8, run.dice.randint(35, 90))
    ]
    lost = 0
    held = {index for at, long in bursts for index in range(at, at + long)}
    for index, fields in enumerate(run.fields):
        if index in held:
            fields["gradient_norm"] = run.dice.choice([math.inf, NAN])
            lost += run.every
        fields["updates"] = max(0, fields["updates"] - lost)


def rate_ends_at_zero(run: Run) -> None:
    """A linear schedule's last report has a rate of exactly 0."""
    for index, fields in enumerate(run.fields):
        fields["learning_rate"] = 1e-4 * (1 - (index + 1) / len(run))


def one_bad_file(run: Run) -> None:
    """One or two files of some hundred can't be read, in a run of an epoch or two."""
    files, batch, run.every = run.dice.randint(90, 400), run.dice.choice([1, 2, 4, 8]), 1
    bad = set(run.dice.sample(range(files), 1 if files < 200 else run.dice.randint(1, 2)))
    order = run.dice.sample(range(files), files) + run.dice.sample(range(files), files)
    del run.fields[max(8, len(order) // batch) :]
    skipped = 0
    for index, fields in enumerate(run.fields):
        drawn = order[index * batch : (index + 1) * batch]
        skipped += sum(file in bad for file in drawn)
        trained = (index + 1) * batch - skipped
        fields.update(skipped={"DecodeError": skipped} if skipped else {}, samples_total=trained)


def skips_in_a_row(run: Run) -> None:
    """A shard with some files too short, all in one stretch; one in three hundred over the run."""
    batch, run.every = 16, 1
    at, row = run.dice.randint(len(run) // 2, len(run) - 10), run.dice.randint(4, 10)
    skipped = 0
    for index, fields in enumerate(run.fields):
        if at <= index < at + 2:
            skipped += row // 2
        fields.update(skipped={"TooShort": skipped}, samples_total=(index + 1) * batch - skipped)


def pauses_of_all_kinds(run: Run) -> None:
    """Evaluation, saving and probes, minutes each; the first report after them is slow and a little higher."""
    kinds = [Phase.EVALUATION, Phase.CHECKPOINT, Phase.STRATEGIC_LOG]
    fields = []
    for index, report in enumerate(run.fields):
        report["step"] = (index + 1) * run.every
        fields.append(report)
        if index % 40 == 39:
            phase = run.dice.choice(kinds)
            fields.append({"step": report["step"], "phase": phase, "after": 0.1})
            fields.append(
                {"step": report["step"], "phase": phase, "after": run.dice.uniform(30, 900)}
            )
    run.fields = fields


def dense_then_sparse(run: Run) -> None:
    """The first ten steps are reported each, then every fiftieth: the loss falls by leaps between reports."""
    for index, fields in enumerate(run.fields):
        fields["step"] = index + 1 if index < 10 else 10 + (index - 9) * 50
        fields["updates"] = fields["step"]
        if index >= 10:
            fields["after"] = 50.0


def stale_values(run: Run) -> None:
    """A logger that averages over some steps and repeats the last average at each step between."""
    held = run.dice.randint(2, 60)
    for index, fields in enumerate(run.fields):
        source = run.fields[index - index % held]
        fields.update(losses=dict(source["losses"]), gradient_norm=source["gradient_norm"])


def fast_little_epochs(run: Run) -> None:
    """Eight files learned by heart: epochs of a second, loss over decades, the same four batches in turn."""
    run.seconds, offsets = 0.01, [run.dice.noise(0.5) for _ in range(4)]
    for index in range(len(run)):
        fall = offsets[index % 4] * math.exp(-index / 40.0) + 1e-4
        run.loss(index, lambda loss, fall=fall: loss * fall)  # type: ignore[misc]


SECOND_HEALTHY: dict[str, Callable[[Run], None]] = {
    ugly.__name__.replace("_", " "): ugly
    for ugly in (
        half_precision_plateau, four_decimals, printed_to_zero, clipped_norm, accumulation, low_rank,
        annealed_kl, ctc_zero_infinity, only_ctc_and_a_batch_of_zeros, warm_restarts, calm_then_bump,
        last_batch_of_the_epoch, sorted_by_length, batches_of_one, hump, two_optimizers, tasks_in_turn,
        critic, adversary_comes_late, resumed_twice, first_loss_for_long, stale_values, scaler_bursts,
        rate_ends_at_zero, one_bad_file, skips_in_a_row, pauses_of_all_kinds, dense_then_sparse, fast_little_epochs,
    )
}  # fmt: skip
