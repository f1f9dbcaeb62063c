"""What is wrong with lines of a manifest, as `speechtrain data` shows it."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from speech_cli.rendering import words

SHOWN: Final = 20


def problem_lines(problems: tuple[Any, ...], what: str) -> list[str]:
    """`problems`: of `speech_trainer.data.manifest`. `what` became of their lines."""
    if not problems:
        return ["nothing is wrong"] if what == "wrong" else []
    reasons = Counter(problem.reason for problem in problems)
    shown = [f"  {problem}" for problem in problems[:SHOWN]]
    hidden = len(problems) - len(shown)
    more = [f"  and {hidden} more; -o json lists all"] if hidden else []
    return [f"{what}: {words.tally(reasons)}", *shown, *more]
