"""Faults planted by a second hand, after bugs of real runs.

Each spoils a healthy run from a place on. Used by curves.
"""

from __future__ import annotations

import math

from runs import NAN, WITHIN, Run
from second_runs import half
from zoo_faults import Spoil

from speech_contract.progress import Rule


def _late(run: Run) -> int:
    """Late in the run: whatever a rule has learned by then must not have made it deaf."""
    return run.dice.randint(len(run) - 60, len(run) - 25)


def nan_in_one_part_now_and_then(run: Run) -> tuple[Rule, int]:
    """One part is NaN at every second or third report; the total leaves it out and looks sound."""
    at, gap = _late(run), run.dice.randint(2, 3)
    for index, fields in enumerate(run.fields):
        bad = index >= at and (index - at) % gap == 0
        part = fields["losses"]["loss"] * 0.1 * run.dice.noise(0.1)
        fields["losses"]["duration"] = run.dice.choice([NAN, math.inf]) if bad else part
    return Rule.NON_FINITE, at


def one_nan(run: Run) -> tuple[Rule, int]:
    """A single NaN late in the run: the weights may carry it, so it is told."""
    at = _late(run)
    run.fields[at]["losses"]["loss"] = NAN
    return Rule.NON_FINITE, at


def nan_norm_and_sound_loss(run: Run) -> tuple[Rule, int]:
    """Backward makes NaN out of a sound loss; no scaler, each update is counted as bad."""
    at = _late(run)
    for index in range(at, len(run)):
        run.fields[index].update(gradient_norm=NAN, non_finite_steps=(index - at + 1) * run.every)
    return Rule.NON_FINITE, at


def scaler_never_recovers(run: Run) -> tuple[Rule, int]:
    """Half precision without end: the scaler halves down to nothing, each norm infinite, no update any more."""
    at = _late(run)
    for index, fields in enumerate(run.fields):
        fields["non_finite_steps"] = None
        if index >= at:
            fields.update(gradient_norm=math.inf, updates=run.fields[at - 1]["updates"])
    return Rule.NON_FINITE, at


def disguised_every_fifth(run: Run) -> tuple[Rule, int]:
    """The NaN filter of a logger, on a NaN that comes with one batch in five."""
    at = _late(run)
    for index in range(at, len(run), 5):
        run.fields[index].update(losses={"loss": 0.0}, gradient_norm=NAN)
    return Rule.NON_FINITE, at


def zero_every_second_step(run: Run) -> tuple[Rule, int]:
    """Every second batch raises and counts 0.0: the curve looks like a comb."""
    at = run.dice.choice([0, run.dice.randint(1, len(run) - 60)])
    run.within = 2 * WITHIN  # WITHIN of them are zero
    for fields in run.fields[at::2]:
        fields.update(losses={"loss": 0.0}, gradient_norm=None)
    return Rule.ZERO_LOSS, at


def data_exhausted(run: Run) -> tuple[Rule, int]:
    """The loader ran dry and gives empty batches: no sample more, sum 0."""
    at = _late(run)
    for fields in run.fields[at:]:
        fields.update(losses={"loss": 0.0}, gradient_norm=None,
                      samples_total=run.fields[at - 1]["samples_total"])  # fmt: skip
    return Rule.ZERO_LOSS, at


def frozen_loss(run: Run) -> tuple[Rule, int]:
    """The variable that is logged is no longer the one that is computed: loss and norm stand still to the bit."""
    at = _late(run)
    for fields in run.fields[at:]:
        fields.update(
            losses=dict(run.fields[at]["losses"]), gradient_norm=run.fields[at]["gradient_norm"]
        )
    return Rule.CONSTANT_COMPONENT, at


def frozen_part(run: Run) -> tuple[Rule, int]:
    """A part with bfloat16 values saturates at its clamp in the middle of the run."""
    at, bound = _late(run), run.dice.choice([2.0, 5.0, 10.0, 50.0])
    for index, fields in enumerate(run.fields):
        free = half(bound * 0.3 * run.dice.noise(0.2), 8)
        fields["losses"]["kl"] = bound if index >= at else free
    return Rule.CONSTANT_COMPONENT, at


def dead_adversary(run: Run) -> tuple[Rule, int]:
    """An announced discriminator whose output is its bias: its loss never moves once it is on."""
    start = run.dice.randint(10, 80)
    value = run.dice.choice([2.0, 1.0, 1.386294])
    for index, fields in enumerate(run.fields):
        fields["losses"] |= {"discriminator/loss": value if index >= start else 0.0}
        fields["active_from"] = {"discriminator": (start + 1) * run.every}
    return Rule.CONSTANT_COMPONENT, start


def slow_divergence(run: Run) -> tuple[Rule, int]:
    """The loss grows by some per cent a report, without a jump: due when it is ten times its best."""
    start, growth = run.dice.randint(60, 90), run.dice.uniform(1.03, 1.12)
    level = run.fields[start]["losses"]["loss"]
    for index in range(start, len(run)):
        rise = min(1e6, growth ** (index - start))
        run.fields[index]["losses"]["loss"] = level * rise * run.dice.noise(0.05)
        run.norm(index, lambda norm, rise=rise: norm * rise**0.5)  # type: ignore[misc]
    run.within = math.ceil(math.log(10.0) / math.log(growth)) + WITHIN
    return Rule.LOSS_SPIKE, start


def blow_up_in_one_part(run: Run) -> tuple[Rule, int]:
    """The total, with a noisy part a thousand times its size from one report to the next."""
    at = run.dice.randint(60, len(run) - 40)
    for index, fields in enumerate(run.fields):
        loss = fields["losses"]["loss"]
        part = 0.05 * loss * run.dice.noise(0.3) * (1000.0 if index >= at else 1.0)
        fields["losses"] = {"total": loss + part, "mel": loss, "kl": part}
    return Rule.LOSS_SPIKE, at


def norm_explodes_after_clipping_ends(run: Run) -> tuple[Rule, int]:
    """Norms as clipping left them, 1.0 to the bit; then clipping is off and they are hundreds."""
    at, high = run.dice.randint(50, len(run) - 40), run.dice.scale(100.0, 1e5)
    for index, fields in enumerate(run.fields):
        fields["gradient_norm"] = 1.0 if index < at else high * run.dice.noise(0.3)
    return Rule.GRADIENT_SPIKE, at


def one_module_without_gradient(run: Run) -> tuple[Rule, int]:
    """One trainable module of many is never reached."""
    name = run.dice.choice(["duration_predictor", "flow", "posterior_encoder", "text_encoder"])
    for fields in run.fields[:5]:
        fields["missing_gradients"] = [name]
    return Rule.NO_GRADIENT, 0


def gradient_stops(run: Run) -> tuple[Rule, int]:
    """Everything is frozen by a callback in the middle of the run: norm 0.0, the loss goes on with its noise."""
    at = _late(run)
    for fields in run.fields[at:]:
        fields["gradient_norm"] = 0.0
    return Rule.NO_GRADIENT, at


def skips_creep_up(run: Run) -> tuple[Rule, int]:
    """Each report a few more files can't be read: due when it is one in ten."""
    run.every, batch, slope = 1, 16, run.dice.uniform(0.001, 0.004)
    start, total, trained = run.dice.randint(20, 40), 0.0, 0
    for index, fields in enumerate(run.fields):
        share = min(0.5, max(0.0, (index - start) * slope))
        total += share * batch
        trained = (index + 1) * batch - int(total)
        fields.update(skipped={"DecodeError": int(total)}, samples_total=trained)
    run.within = math.ceil(0.1 / slope) + WITHIN
    return Rule.SKIPPED_SAMPLES, start


def three_bad_batches_at_the_start(run: Run) -> tuple[Rule, int]:
    """Not one file of the first batches can be read: nothing was ever trained on."""
    for index, fields in enumerate(run.fields):
        fields.update(skipped={"DecodeError": (index + 1) * 16}, samples_total=0)
    return Rule.SKIPPED_SAMPLES, 0


SECOND_FAULTS: dict[str, Spoil] = {
    spoil.__name__.replace("_", " "): spoil
    for spoil in (
        nan_in_one_part_now_and_then, one_nan, nan_norm_and_sound_loss, scaler_never_recovers,
        disguised_every_fifth, zero_every_second_step, data_exhausted, frozen_loss, frozen_part,
        dead_adversary, slow_divergence, blow_up_in_one_part, norm_explodes_after_clipping_ends,
        one_module_without_gradient, gradient_stops, skips_creep_up, three_bad_batches_at_the_start,
    )
}  # fmt: skip
