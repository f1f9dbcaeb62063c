"""What an attempt of a script that saves by itself is handed, through the environment and back."""

from __future__ import annotations

import pytest

from speech_contract import env
from speech_contract.saves import Handed, Resume, handed, joined


@pytest.mark.parametrize(
    "given",
    [Handed(), Handed(Resume(40, "/x/40")), Handed(Resume(40), ((1, 4), (9, 10)))],
)
def test_the_environment_carries_what_is_handed_and_nothing_of_an_older_attempt(given):
    older = {
        env.RESUME_STEP: "1",
        env.RESUME_PATH: "/old",
        env.SKIP_WINDOWS: "[[0,1]]",
        "HOME": "/",
    }
    environ = given.environ(older)
    assert handed(environ) == given
    assert environ["HOME"] == "/"


@pytest.mark.parametrize("text", ["", "no json", "[1]", '[["a","b"]]', "{}", "[[5,3]]"])
def test_windows_that_make_no_sense_pass_over_nothing(text):
    assert handed({env.SKIP_WINDOWS: text, env.RESUME_STEP: "x"}) == Handed()


@pytest.mark.parametrize(
    ("windows", "one"),
    [
        ([], ()),
        ([(5, 8), (0, 2)], ((0, 2), (5, 8))),
        ([(0, 2), (2, 4), (3, 9), (4, 5)], ((0, 9),)),
        ([(3, 3), (7, 2)], ()),
    ],
)
def test_windows_rise_and_touching_ones_are_one(windows, one):
    assert joined(windows) == one
