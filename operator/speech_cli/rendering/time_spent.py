"""What a job's time went into, as one line. Called by `live` and `why`, and by `reporting` for the page."""

from __future__ import annotations

from speech_cli.rendering import words
from speech_cli.rendering.view import JobView
from speech_contract.goodput import seconds_of


def goodput_text(view: JobView) -> str:
    """`0.566: productive 3m21s, startup 1m08s, recomputed 19s; queued 25s`, largest first; "" before any account."""
    parts = seconds_of(view.goodput)
    queued = parts.pop("queued")
    spent = sorted((part for part in parts.items() if part[1] > 0), key=lambda part: -part[1])
    held = ", ".join(f"{name} {words.duration(seconds)}" for name, seconds in spent)
    waited = f"queued {words.duration(queued)}" if queued > 0 else ""
    told = "; ".join(filter(None, (held, waited)))
    return f"{share(view)}: {told}" if told else ""


def share(view: JobView) -> str:
    """The ratio, or why there is none: an account is in whole seconds, and an attempt may be over in less."""
    if view.goodput.ratio is not None:
        return view.goodput.ratio
    if not view.finished:
        return "no productive step yet"
    return "less than a second productive" if view.step else "no productive step"
