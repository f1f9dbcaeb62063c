"""The picture of a running job: one line for logs and pipes, one panel for a terminal.

Called by `speech_cli.watching` with every update; knows no clock, no process and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from speech_cli.rendering import words
from speech_cli.rendering.time_spent import goodput_text
from speech_cli.rendering.view import FindingView, JobView, RankView
from speech_contract.losses import HEADLINES
from speech_contract.phases import Phase

COMPONENTS_SHOWN = 8
FINDINGS_SHOWN = 4
BAR_WIDTH = 40
FRESH_SECONDS = 30.0  # a running job is heard of and written more often than this


def line(view: JobView) -> str:
    """One plain line: `step 120/800 15% | loss 93.2 | gradient norm 12.3 | 31 audio s/s | ETA 2m31s | Healthy`."""
    if view.step is None:
        return " | ".join([stage(view), view.verdict])
    parts = [
        f"step {words.steps(view.step, view.total_steps)} {_percent(view)}".rstrip(),
        f"loss {words.number(view.loss)}",
        f"gradient norm {words.number(view.gradient_norm)}",
    ]
    if view.audio_rate is not None:
        parts.append(f"{words.number(view.audio_rate, 3)} audio s/s")
    if view.eta is not None and view.step != view.total_steps:
        parts.append(f"ETA {words.duration(view.eta)}")
    if view.skipped:
        parts.append(f"skipped {view.skipped}")
    if view.non_finite:
        parts.append(f"non-finite {view.non_finite}")
    return " | ".join([*parts, view.verdict])


def stage(view: JobView) -> str:
    """Attempt, state, and the phase where it says more than the state."""
    telling = view.phase not in ("", Phase.TRAINING.value, Phase.DONE.value) and not view.finished
    where = f" ({view.phase})" if telling else ""
    return f"{attempt_of(view)}{view.state}{where}"


def as_of(view: JobView, now: float) -> str:
    """`, as of 2m05s ago` where that is worth a word. `now` in epoch seconds."""
    if view.heard is None or view.at_rest or now - view.heard < FRESH_SECONDS:
        return ""
    return f", as of {words.duration(now - view.heard)} ago"


def attempt_of(view: JobView) -> str:
    """`attempt 2: ` from the second on."""
    return f"attempt {view.attempt}: " if view.attempt and view.attempt > 1 else ""


def finding_line(finding: FindingView) -> str:
    """`critical NonFinite at step 12: loss is NaN → Gated; lower the learning rate`."""
    step = f" at step {finding.step}" if finding.step is not None else ""
    node = f" (node {finding.node})" if finding.node else ""
    rank = f" on rank {finding.rank}{node}" if finding.rank is not None else ""
    healed = "" if finding.active else " (healed)"
    action = f" → {finding.action}" if finding.action not in ("", "None") else ""
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    return (
        f"{finding.severity} {finding.rule}{step}{rank}{healed}: {finding.evidence}{action}{remedy}"
    )


def panel(view: JobView) -> RenderableType:
    """The live table with its progress bar, redrawn in place."""
    return Group(_title(view), _bar(view), _facts(view), *_findings(view))


def _title(view: JobView) -> Text:
    title = Text.assemble(
        (view.name, "bold"), "  ", (stage(view), words.style(view.state)),
        "  ", (view.verdict, words.style(view.verdict)),
    )  # fmt: skip
    if view.device:
        title.append(f"  on {view.device}", "dim")
    return title


def _bar(view: JobView) -> RenderableType:
    if not view.total_steps:
        return Text("")
    row = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=view.total_steps, completed=view.step or 0, width=BAR_WIDTH)
    eta = f"ETA {words.duration(view.eta)}" if view.eta is not None else ""
    row.add_row(bar, _percent(view), words.steps(view.step, view.total_steps), eta)
    return row


def _facts(view: JobView) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    for name, value in fact_rows(view):
        table.add_row(name, Text(value))
    return table


def fact_rows(view: JobView) -> Iterator[tuple[str, str]]:
    """Name and value of everything worth a line; also what `status JOB` prints."""
    if view.step is not None:
        yield "step", words.steps(view.step, view.total_steps)
        yield "loss", words.number(view.loss)
        yield "gradient norm", words.number(view.gradient_norm)
    if components := _components(view):
        yield "components", components
    if view.learning_rate is not None:
        yield "learning rate", words.number(view.learning_rate)
    if view.audio_rate is not None:
        yield "throughput", f"{words.number(view.audio_rate, 3)} seconds of audio a second"
    if view.checkpoint is not None:
        yield "checkpoint", _checkpoint(view)
    texts = {"reads": "" if view.reads is None else str(view.reads), "runtime": view.runtime}
    yield from ((name, text) for name, text in texts.items() if text)
    if view.skipped:
        yield "skipped samples", words.tally(view.skipped_by_reason) or str(view.skipped)
    if view.non_finite or view.discarded:
        yield "non-finite steps", _non_finite(view)
    if spent := goodput_text(view):
        yield "goodput", spent
    yield from _rank_rows(view.ranks if len(view.ranks) > 1 else ())


def _rank_rows(ranks: Sequence[RankView]) -> Iterator[tuple[str, str]]:
    for rank in ranks:
        step = words.steps(rank.step, None)
        yield f"rank {rank.rank}", f"{rank.replica}, step {step}, {rank.phase} for {rank.age:.0f} s"


def _non_finite(view: JobView) -> str:
    text = f"{view.non_finite}, {words.plural(view.rollbacks, 'roll-back')}"
    return f"{text}, {words.plural(view.discarded, 'step')} discarded" if view.discarded else text


def _components(view: JobView) -> str:
    # What means the whole is shown as the loss itself.
    parts = {name: value for name, value in view.losses.items() if name not in HEADLINES}
    shown = list(parts.items())[:COMPONENTS_SHOWN]
    more = len(parts) - len(shown)
    text = "  ".join(f"{name} {words.number(value)}" for name, value in shown)
    return f"{text}  and {more} more" if more else text


def _checkpoint(view: JobView) -> str:
    confirmed = "none confirmed yet" if view.confirmed is None else f"confirmed {view.confirmed}"
    return f"step {view.checkpoint} ({confirmed})"


def _findings(view: JobView) -> Iterator[Text]:
    for finding in view.findings[:FINDINGS_SHOWN]:
        yield Text(
            finding_line(finding), style=words.style(finding.severity) if finding.active else "dim"
        )


def _percent(view: JobView) -> str:
    if not view.total_steps or view.step is None:
        return ""
    return f"{100 * view.step // view.total_steps}%"
