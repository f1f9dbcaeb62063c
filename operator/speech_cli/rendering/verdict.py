"""The last words of a run: Complete with its scores beside the trivial ones, or Failed with cause and remedy.

Called by `commands.run` when the job ended and by `status` and `why` for a finished one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from speech_cli.rendering import words
from speech_cli.rendering.cause import Cause
from speech_cli.rendering.view import JobView
from speech_contract import outcome
from speech_contract.reasons import State
from speech_contract.result import Result
from speech_contract.scores import Better, ScoreSpec, title


def score_lines(result: Result) -> Iterator[str]:
    """`DTW-mel 1.03, below constant median frame 1.16 and other sentence 1.25`; scores without baseline after."""
    plain = []
    for name, score in result.scores.items():
        spec, trivial = result.spec(name), result.trivial(name)
        said = f"{title(name)} {score_number(score, spec.unit)}"
        if trivial:
            yield f"{said}, {compare(score, trivial, spec)}"
        else:
            plain.append(said)
    if plain:
        yield ", ".join(plain)
    if best := result.best:
        value = score_number(best.value, result.spec(best.score).unit)
        yield f"best {title(best.score)} {value} at step {best.step}: checkpoint {best.checkpoint}"


def compare(score: float, trivial: Mapping[str, float], spec: ScoreSpec) -> str:
    """Say on which side of each trivial score it lies; without a direction only what they are."""
    if spec.better is None:
        return f"beside {_listed(trivial, spec)}"
    beaten = {name: value for name, value in trivial.items() if spec.beats(score, value)}
    others = {name: value for name, value in trivial.items() if name not in beaten}
    side = _side(spec)
    said = []
    if beaten:
        said.append(f"{side} {_listed(beaten, spec)}")
    if others:
        said.append(f"NOT {side} {_listed(others, spec)}")
    return ", ".join(said)


def _side(spec: ScoreSpec) -> str:
    if spec.better is Better.TARGET:
        return f"closer to {spec.target:g} than"
    return "below" if spec.better is Better.LOWER else "above"


def beats_baselines(result: Result) -> bool | None:
    """Whether every score is better than all of its trivial ones; None when there is nothing to compare with."""
    compared = [
        result.spec(name).beats(score, value)
        for name, score in result.scores.items()
        if result.spec(name).better is not None
        for value in result.trivial(name).values()
    ]
    return all(compared) if compared else None


def score_number(value: float, unit: str = "") -> str:
    """Two digits behind the point, as the tables of the docs, and the unit."""
    usual = math.isfinite(value) and 0.01 <= abs(value) < 1e6
    number = f"{value:.2f}" if usual else words.number(value)
    return f"{number} {unit}".rstrip()


def complete_lines(
    view: JobView, result: Result | None, places: Mapping[str, Path]
) -> Iterator[str]:
    """A finished run: what it reached and where its files lie."""
    yield f"{view.name}: Complete{_took(view)}, health {view.verdict}"
    if result is None:
        yield "no held-out scores were written"
    else:
        yield from score_lines(result)
        if beats_baselines(result) is False:
            yield "the model does not beat a trivial answer yet: train longer, or look at the data"
    yield from (f"{name}: {path}" for name, path in places.items())


def failed_lines(
    view: JobView,
    cause: Cause,
    exit_code: int | None,
    places: Mapping[str, Path],
    flags: str = "",
) -> Iterator[str]:
    """A failed run: cause, where it began, what convinced us, what to do.

    `flags`: options that a further command needs to find the job.
    """
    meaning = None if cause.exit_code is None else outcome.meaning_of(cause.exit_code)
    reason = cause.reason or (meaning.cause.value if meaning else "no cause is known")
    code = cause.exit_code if exit_code is None else exit_code
    said = "" if code is None else f" (exit code {code}{f': {meaning.meaning}' if meaning else ''})"
    yield f"{view.name}: Failed, {reason}{said}"
    if cause.message and cause.message != cause.evidence:
        yield f"what: {cause.message}"
    if where := cause.where:
        yield f"where: {where}"
    if cause.rule or cause.evidence:
        yield f"evidence: {': '.join(part for part in (cause.rule, cause.evidence) if part)}"
    yield from (f"{name}: {path}" for name, path in places.items())
    if remedy := cause.remedy or (meaning.remedy if meaning else ""):
        yield f"remedy: {remedy}"
    yield f"next: speechtrain why {view.name}{flags}"


def ended_lines(view: JobView, exit_code: int, resume: str) -> Iterator[str]:
    """A run that ended without a verdict: suspended, interrupted, or its processes are gone."""
    meaning = outcome.meaning_of(exit_code)
    at = f" at step {view.step}" if view.step is not None else ""
    saved = f", saved at step {view.checkpoint}" if view.checkpoint is not None else ""
    yield f"{view.name}: {view.state}{at}{saved} (exit code {exit_code}: {meaning.meaning})"
    if view.message and view.state not in (State.RUNNING.value, State.SUSPENDED.value):
        yield f"what: {view.message}"
    yield f"continue with: {resume}"


def _listed(scores: Mapping[str, float], spec: ScoreSpec) -> str:
    return " and ".join(
        f"{title(name)} {score_number(value, spec.unit)}" for name, value in scores.items()
    )


def _took(view: JobView) -> str:
    steps = f" after {view.step} steps" if view.step is not None else ""
    if view.started is None or view.completed is None:
        return steps
    return f"{steps} in {words.duration(view.completed - view.started)}"
