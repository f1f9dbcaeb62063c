"""Curves of rule Implausible: audio that nothing trained on, and small or fast runs that did train. Found by curves."""

from __future__ import annotations

from runs import Run, named

from speech_contract.progress import Rule
from speech_contract.report import Plan


def audio(run: Run, seconds: float, hours: float, batch: float) -> None:
    """Steps of `seconds` that train on `batch` seconds of audio each, of a data set of `hours`."""
    run.every, run.seconds = 1, seconds
    for index, fields in enumerate(run.fields):
        fields["audio_seconds_total"] = (index + 1) * batch
        fields["device"] = "cuda"
    run.fields[0]["plan"] = Plan(audio_seconds=hours * 3600, samples=1000, parameters=83_000_000)


def epochs_of_nothing(run: Run) -> tuple[Rule, int]:
    """From a step on every batch is dropped before the model sees it: hours of audio pass in seconds."""
    audio(run, 1.0, run.dice.uniform(1.0, 100.0), run.dice.uniform(50.0, 500.0))
    at, total = run.dice.randint(0, len(run) - 45), 0.0
    for fields in run.fields[at:]:
        fields["after"] = run.dice.uniform(1.5, 2.0)  # a report now stands for thousands of steps
    for index, fields in enumerate(run.fields):
        total += run.dice.scale(8e4, 1e7) if index >= at else 300.0
        fields["audio_seconds_total"] = total
    return Rule.IMPLAUSIBLE, at


def short_epochs(run: Run) -> None:
    """A minute of audio and epochs of a second, on a CPU; or a large batch on a fast device."""
    if run.dice.random() < 0.5:
        audio(run, run.dice.uniform(0.002, 0.2), 1 / 60, run.dice.uniform(2.0, 8.0))
        for fields in run.fields:
            fields["device"] = "cpu"
    else:
        audio(run, run.dice.uniform(0.1, 0.5), 50.0, run.dice.uniform(100.0, 1500.0))


FAULTS = named(epochs_of_nothing)
HEALTHY = named(short_epochs)
