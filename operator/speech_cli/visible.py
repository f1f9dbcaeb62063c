"""Text of others, made harmless for a terminal. Called by `console` and `errors`."""

from typing import Final

# ECMA-48: C0 and DEL as their Unicode pictures, C1 and what turns the direction of text
# (Unicode TR 9) as a replacement. A line's end, a tab and the joiners that Indian scripts are written with stay.
_PICTURES: Final = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
    **dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\ufffd"),
}


def visible(text: str) -> str:
    """The text with each control character in a form that no terminal obeys."""
    return text if text.isprintable() else text.translate(_PICTURES)
