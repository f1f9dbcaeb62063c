"""A story → one HTML page that carries everything along and asks the network for nothing.

Text from outside is only ever put into nodes of a tree, which is written with every character escaped, and into a
JSON block. The page's policy runs the two scripts that it holds, by their hashes, and no other; it fetches nothing.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement

from speech_contract import codec
from speech_contract.goodput import seconds_of
from speech_contract.losses import headline
from speech_contract.result import Result
from speech_telemetry.report.charts import Chart, charts, marks, score_charts
from speech_telemetry.report.curves import Mark
from speech_telemetry.report.nodes import folded, node, rows, section, table, wide, written
from speech_telemetry.report.panels import pictures, recordings, score_table, time_spent
from speech_telemetry.report.story import Story, numbers_of, prose, result_of, shown

GENERATOR: Final = "speechtrain report"
TOLD: Final = 300  # rows of the time line
_SCRIPTS: Final = ("uPlot.iife.min.js", "report.js")
_STYLES: Final = ("uPlot.min.css", "report.css")
_TILES: Final = (
    ("step", "step"), ("loss", "loss"), ("gradientNorm", "gradient norm"), ("learningRate", "learning rate"),
    ("updates", "updates"), ("nonFiniteSteps", "steps not finite"), ("samplesSkipped", "samples skipped"),
    ("rollbacks", "roll-backs"), ("discardedSteps", "steps discarded"), ("lastCheckpointStep", "checkpoint"),
    ("verdict", "health"),
)  # fmt: skip
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="generator" content="{generator}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
{body}
<script type="application/json" id="data">{data}</script>
<!-- uPlot, which this page holds:
{licence}
-->
{scripts}
</html>
"""


def render(story: Story, now: float) -> str:
    """The page; `now` in epoch seconds, shown as when it was made."""
    scripts = [_asset(name) for name in _SCRIPTS]
    style = "\n".join(map(_asset, _STYLES))
    scores = result_of(story)
    drawn, scored = (
        list(charts(story.curves)),
        list(score_charts(story.curves.evaluations, _trivial(scores))),
    )
    return _PAGE.format(
        policy=_policy(scripts, style),
        generator=GENERATOR,
        title=written(node("title", f"{story.title}: speechtrain"))[7:-8],
        style=style,
        body=written(_body(story, scores, drawn, scored, now)),
        data=_data(story, drawn, scored),
        licence=_asset("uPlot.LICENSE"),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def ours(text: str) -> bool:
    """Whether a file begins as our pages do: no other is ever replaced."""
    return f'<meta name="generator" content="{GENERATOR}">' in text


@functools.cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath("assets", name).read_text(encoding="utf-8").strip()


def _policy(scripts: Sequence[str], style: str) -> str:
    allowed = " ".join(map(_hash, scripts))
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _data(story: Story, drawn: Sequence[Chart], scored: Sequence[Chart]) -> str:
    """What the script draws, and the numbers for whoever reads the page by machine. No tag can end the block."""
    document = {
        "numbers": numbers_of(story.curves),
        "attempts": story.curves.attempts,
        "evaluations": story.curves.evaluations,
        "charts": drawn,
        "scoreCharts": scored,
        "marks": marks(story.curves.marks),
        "pictures": story.drawn,
        "goodput": {"ratio": story.goodput.ratio or "", "seconds": seconds_of(story.goodput)},
    }
    text = json.dumps(
        codec.to_document(document), ensure_ascii=True, allow_nan=False, separators=(",", ":")
    )
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _body(
    story: Story, scores: Result | None, drawn: Sequence[Chart], scored: Sequence[Chart], now: float
) -> Element:
    body = Element("body")
    head = SubElement(body, "header")
    head.append(node("h1", story.title))
    rows(head, story.why or list(prose(story.curves)), "why")
    for note in story.notes:
        head.append(node("p", note, "note"))
    body.append(_tiles(numbers_of(story.curves)))
    time_spent(body, story)
    if scores is not None and scores.scores:
        section(body, "Scores on held-out data").append(score_table(scores))
    _charts(body, "How the scores went", "score-charts", scored)
    _charts(body, "How training went", "charts", drawn)
    recordings(body, story.sounds)
    pictures(body, story)
    _happenings(body, story)
    for name, facts in story.sections:
        folded(body, name).append(_tree(facts))
    if story.config is not None:
        text = json.dumps(story.config, indent=2, ensure_ascii=False)
        folded(body, "Configuration").append(node("pre", text))
    if story.environment:
        rows(folded(body, "Environment"), story.environment, "facts")
    body.append(_footer(now))
    return body


def _tiles(numbers: Mapping[str, Any]) -> Element:
    tiles = Element("section", {"class": "tiles"})
    for name, label in _TILES:
        value = numbers.get(name)
        if name == "loss" and value is None:
            value = _headline(numbers)
        if value is None:
            continue
        text = (
            f"{value} of {numbers['totalSteps']}"
            if name == "step" and "totalSteps" in numbers
            else shown(value)
        )
        tile = SubElement(tiles, "div", {"class": "tile"})
        tile.append(node("span", label, "label"))
        tile.append(node("span", text, _level(name, value)))
    return tiles


def _headline(numbers: Mapping[str, Any]) -> Any:
    losses = numbers.get("losses")
    name = headline(losses) if isinstance(losses, Mapping) else None
    return losses[name] if losses and name is not None else None


def _level(name: str, value: Any) -> str:
    bad = name == "nonFiniteSteps" and value != 0
    return f"value {value}" if name == "verdict" else "value Warning" if bad else "value"


def _trivial(result: Result | None) -> dict[str, dict[str, float]]:
    return {name: result.trivial(name) for name in result.scores} if result else {}


def _charts(body: Element, heading: str, name: str, drawn: Sequence[Chart]) -> None:
    if not drawn:
        return
    place = section(body, heading)
    if any(line.get("left") for chart in drawn for line in chart.lines):
        said = "Pale and dashed: steps that a roll-back or a later attempt left."
        place.append(node("p", said, "note"))
    SubElement(place, "div", {"class": "charts", "id": name})
    SubElement(
        place, "noscript"
    ).text = "The charts need JavaScript; they ask no network for anything."


def _happenings(body: Element, story: Story) -> None:
    """The time line: attempts, findings, roll-backs, evaluations, checkpoints as they came."""
    found = [*_attempt_marks(story), *story.curves.marks]
    if not found:
        return
    details = folded(body, "What happened, in order")
    details.set("open", "open")
    lines = table(["time, UTC", "attempt", "step", "what"])
    for mark in _few(found):
        row = SubElement(lines, "tr")
        row.append(node("td", _clock(mark.time)))
        row.append(node("td", mark.attempt))
        row.append(node("td", mark.step))
        row.append(node("td", mark.text, mark.level))
    if len(found) > TOLD:
        details.append(node("p", f"the first and last of {len(found)}", "note"))
    details.append(wide(lines))


def _attempt_marks(story: Story) -> Iterator[Mark]:
    for one in story.curves.attempts:
        if one.opened:
            yield Mark(
                "attempt", one.first_step or 0, one.number, "the ranks start", "", one.opened
            )
        if one.ended:
            well = one.exit_code == 0
            said = f"ends with exit code {one.exit_code}" + (
                f": {one.rule or one.message}" if not well else ""
            )
            yield Mark(
                "attempt",
                one.last_step or 0,
                one.number,
                said,
                "" if well else "Warning",
                one.ended,
            )


def _few(found: Sequence[Mark]) -> list[Mark]:
    """In order of attempt and time; of very many the checkpoints go first, then the middle."""
    ordered = sorted(found, key=lambda mark: (mark.attempt, mark.time or 0.0))
    if len(ordered) > TOLD:
        ordered = [mark for mark in ordered if mark.kind != "checkpoint"]
    return ordered if len(ordered) <= TOLD else [*ordered[: TOLD // 2], *ordered[-TOLD // 2 :]]


def _clock(seconds: float | None) -> str:
    if not seconds:
        return ""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):  # a clock that nobody set
        return ""


def _tree(facts: Mapping[str, Any]) -> Element:
    shown_list = Element("ul", {"class": "tree"})
    for name, value in facts.items():
        item = SubElement(shown_list, "li")
        item.append(node("b", f"{name} "))
        _leaf(item, value)
    return shown_list


def _leaf(item: Element, value: Any) -> None:
    if isinstance(value, Mapping):
        item.append(_tree(value))
    elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        item.append(_tree({f"[{place}]": one for place, one in enumerate(value)}))
    else:
        text = " ".join(map(shown, value)) if isinstance(value, list) else shown(value)
        item.append(node("span", text))


def _footer(now: float) -> Element:
    said = f"Made by speechtrain, {_clock(now)} UTC. Charts by uPlot 1.6.32, © Leon Sorokin, MIT licence."
    return node("footer", said)
