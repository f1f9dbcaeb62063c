"""What jobs wrote reaches the screen as text, whatever it holds."""

from __future__ import annotations

import pytest
from rich.live import Live
from rich.table import Table
from rich.text import Text

from speech_cli.console import make_console, say
from speech_cli.errors import UserError

# sets the window's title, fills the clipboard, goes up and clears a line; C1's one-byte form of it; DEL, backspace
HOSTILE = "loss\x1b]0;owned\x07 \x1b]52;c;cm0gLXJm\x07\x1b[1A\x1b[2K\x9b2K\x7f\b\r end"
HARMLESS = "loss␛]0;owned␇ ␛]52;c;cm0gLXJm␇␛[1A␛[2K�2K␡␈␍ end"
STRIPPED = HARMLESS.translate(dict.fromkeys(map(ord, "␇␈␍")))  # rich drops these by itself


def table() -> Table:
    made = Table("verdict")
    made.add_row(HOSTILE)
    return made


@pytest.mark.parametrize("shown", [HOSTILE, Text(HOSTILE), Text(HOSTILE, style="bold red")])
def test_no_text_of_a_job_steers_a_terminal(shown, capsys):
    console = make_console()
    say(console, [shown])
    assert capsys.readouterr().out == f"{STRIPPED}\n"


def test_nor_does_a_cell_of_a_table(capsys):
    make_console().print(table())
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "␛]52;c;cm0gLXJm␛" in out


def test_what_rich_tells_the_terminal_still_arrives(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    console = make_console()
    console._force_terminal, console.legacy_windows = True, False
    with Live(table(), console=console, auto_refresh=False) as live:
        live.update(table(), refresh=True)
    out = capsys.readouterr().out
    assert "\x1b[?25l" in out, "the cursor is hidden while the table is drawn"
    assert "]52;c" in out
    assert "\x1b]52;c" not in out


def test_no_text_turns_the_direction_of_what_follows(capsys):
    say(make_console(), ["exit \u202edelaeh\u202c \u2066x\u2069"])
    assert capsys.readouterr().out == "exit �delaeh� �x�\n"


def test_other_scripts_and_line_ends_stay_as_they_are(capsys):
    say(make_console(), ["క్\u200cష\tजल\nzwei"])
    assert capsys.readouterr().out.split() == ["క్\u200cష", "जल", "zwei"]


def test_an_error_is_no_way_round(capsys):
    UserError(f"metadata.name {HOSTILE!s} is no name").show()
    said = capsys.readouterr().err
    assert HARMLESS in said
    assert "\x1b" not in said
