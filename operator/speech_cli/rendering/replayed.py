"""A replay of the first bad step in words and as a table. Called by `commands.why`; the answer is JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

BEGAN = {
    "Batch": "the data: the batch itself is not finite",
    "Output": "the forward pass",
    "Gradient": "the backward pass: every output was finite",
    "Loss": "a loss: every module's output was finite",
}


def lines(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, text) pairs: which step, whether it came again, what was first."""
    weights = (
        "with the weights of that step"
        if answer["exact"]
        else "with weights one update later: the step after it was finite"
    )
    where = f"step {answer['step']} of attempt {answer['attempt']}, rank {answer['rank']}"
    yield "replayed", f"{where}, on {answer['device']}, {weights}"
    if samples := answer["samples"]:
        yield "samples", _few(samples)
    if answer["reproduced"]:
        component, module = answer["component"] or "none", answer["module"] or "none"
        yield "first bad", f"loss component {component}, module {module}"
        yield "began in", _began(answer["places"])
    else:
        yield "finite", _finite(answer)


def table(answer: Mapping[str, Any]) -> Table:
    """What was not finite, in the order in which it came about."""
    found = Table(box=None, pad_edge=False)
    for title in ("#", "what", "name", "kind", "nan", "inf", "of", "inputs"):
        found.add_column(title)
    for number, place in enumerate(answer["places"], start=1):
        inputs = {True: "finite", False: "not finite"}.get(place.get("inputsFinite"), "")
        counts = (str(place[key]) for key in ("nan", "infinite", "of"))
        found.add_row(str(number), place["what"], place["name"], place["kind"], *counts, inputs)
    return found


def _began(places: Sequence[Mapping[str, Any]]) -> str:
    first = places[0]
    return f"{BEGAN.get(first['what'], first['what'])} ({first['name']})"


def _finite(answer: Mapping[str, Any]) -> str:
    text = (
        f"all of it; the run saw loss component {answer['recordedComponent'] or 'none'}, module "
        f"{answer['recordedModule'] or 'none'}"
    )
    if not answer["exact"]:
        return f"{text}: one update has moved the weights since"
    return f"{text}: look at another rank, or at what differs between this machine and that one"


def _few(samples: Sequence[str]) -> str:
    more = f" and {len(samples) - 3} more" if len(samples) > 3 else ""
    return ", ".join(samples[:3]) + more
