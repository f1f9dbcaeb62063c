"""Sections of the page that are no chart: where the time went, scores, recordings, pictures. Called by `page`."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement

from speech_contract.goodput import seconds_of
from speech_contract.result import Result
from speech_contract.scores import title
from speech_contract.spoken import duration
from speech_telemetry.report.nodes import node, section, table, wide
from speech_telemetry.report.story import Medium, Story, shown


def time_spent(body: Element, story: Story) -> None:
    """One bar of all the job's time, and its parts in words; nothing where no account is known."""
    parts = {part: seconds for part, seconds in seconds_of(story.goodput).items() if seconds > 0}
    if not parts:
        return
    ratio = story.goodput.ratio
    told = f"goodput {ratio}: productive time over all but the queued" if ratio else story.share
    place = section(body, "Where the time went")
    place.append(node("p", f"{told}; {story.counted_by}", "note"))
    # As SVG: the page's policy allows no style attribute.
    bar = SubElement(place, "svg", {"class": "bar", "viewBox": "0 0 1000 10", "preserveAspectRatio": "none",
                                    "role": "img", "aria-label": ratio or story.share})  # fmt: skip
    legend = SubElement(place, "ul", {"class": "parts"})
    for part, at, width in _pieces(parts):
        kind, said = f"part-{part}", f"{part} {duration(parts[part])}"
        size = {"x": f"{at:.2f}", "width": f"{width:.2f}", "height": "10"}
        SubElement(bar, "rect", {**size, "class": kind}).append(node("title", said))
        row = SubElement(legend, "li")
        swatch = SubElement(row, "svg", {"class": "swatch", "viewBox": "0 0 1 1"})
        SubElement(swatch, "rect", {"width": "1", "height": "1", "class": kind})
        row.append(node("span", f"{said}, {width / 1000:.1%}"))


def _pieces(parts: Mapping[str, int]) -> Iterator[tuple[str, float, float]]:
    """Each part, where it begins and how wide it is, in thousandths of the bar."""
    whole, at = sum(parts.values()), 0
    for part, seconds in parts.items():
        yield part, 1000 * at / whole, 1000 * seconds / whole
        at += seconds


def score_table(result: Result) -> Element:
    """A row a score: the model beside each trivial answer, those that are not beaten marked."""
    answers = list(result.baselines)
    rows = table(["score", "model", *map(title, answers)])
    rows.set("class", "numbers")
    for name, value in result.scores.items():
        spec = result.spec(name)
        unit = f" {spec.unit}" if spec.unit else ""
        row = SubElement(rows, "tr")
        better = (
            f", {spec.better.value.lower()} is better"
            if spec.better and spec.better.value != "Target"
            else ""
        )
        row.append(node("th", f"{title(name)}{better}"))
        row.append(node("td", f"{shown(value)}{unit}"))
        for answer in answers:
            other = result.baselines[answer].get(name)
            lost = other is not None and spec.better is not None and not spec.beats(value, other)
            text = "" if other is None else f"{shown(other)}{unit}{' (not beaten)' if lost else ''}"
            row.append(node("td", text, "Warning" if lost else ""))
    return wide(rows)


def recordings(body: Element, sounds: Sequence[Sequence[Medium]]) -> None:
    """What was said of each sentence side by side, with a canvas for the spectrogram."""
    if not sounds:
        return
    place = section(body, "To listen to, of the last evaluation")
    for number, group in enumerate(sounds, start=1):
        row = SubElement(place, "div", {"class": "sounds"})
        for sound in group:
            figure = SubElement(row, "figure")
            figure.append(node("figcaption", f"{number}: {title(sound.name)}"))
            SubElement(
                figure, "canvas", {"width": "480", "height": "128", "aria-label": "spectrogram"}
            )
            SubElement(
                figure, "audio", {"controls": "controls", "preload": "metadata", "src": _uri(sound)}
            )


def pictures(body: Element, story: Story) -> None:
    """What the script draws of the model's inside, and images that lie beside the samples."""
    if not (story.pictures or story.drawn):
        return
    place = section(body, "Pictures of the last evaluation")
    if story.drawn:
        SubElement(place, "div", {"class": "charts", "id": "pictures"})
    if not story.pictures:
        return
    row = SubElement(place, "div", {"class": "pictures"})
    for picture in story.pictures:
        figure = SubElement(row, "figure")
        figure.append(node("figcaption", title(picture.name)))
        SubElement(figure, "img", {"src": _uri(picture), "alt": picture.name})


def _uri(medium: Medium) -> str:
    return f"data:{medium.mime};base64,{base64.b64encode(medium.data).decode()}"
