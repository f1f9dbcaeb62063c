"""Pieces of a page: nodes of a tree whose texts are escaped when it is written. Used by `page` and `panels`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from speech_telemetry.report.story import Lines

# No HTML document may hold them.
_UNSEEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def node(tag: str, text: object = "", kind: str = "") -> Element:
    """A node with text, which is escaped when the tree is written."""
    made = Element(tag, {"class": kind} if kind else {})
    made.text = str(text)
    return made


def written(tree: Element) -> str:
    """As HTML, every character of texts and attributes escaped, and none that HTML may not hold."""
    return _UNSEEN.sub(
        "\N{REPLACEMENT CHARACTER}", tostring(tree, encoding="unicode", method="html")
    )


def section(body: Element, heading: str) -> Element:
    """A part of the page under a heading."""
    made = SubElement(body, "section")
    made.append(node("h2", heading))
    return made


def folded(body: Element, heading: str) -> Element:
    """A part of the page that opens on a click."""
    details = SubElement(SubElement(body, "section"), "details")
    details.append(node("summary", heading))
    return details


def rows(parent: Element, lines: Lines, kind: str) -> None:
    """Names and texts; a text without a name continues the one above."""
    shown_rows = SubElement(parent, "dl", {"class": kind})
    for name, text in lines:
        shown_rows.append(node("dt", name))
        shown_rows.append(node("dd", text, "aligned" if "  " in text else ""))


def table(heads: Iterable[str]) -> Element:
    """With its first row."""
    made = Element("table")
    row = SubElement(made, "tr")
    for head in heads:
        row.append(node("th", head))
    return made


def wide(inner: Element) -> Element:
    """On a phone a wide table scrolls by itself, and the page does not."""
    holder = Element("div", {"class": "wide"})
    holder.append(inner)
    return holder
