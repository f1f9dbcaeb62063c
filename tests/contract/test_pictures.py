"""What an evaluation may draw, and that it stays small."""

from __future__ import annotations

from speech_contract.pictures import Line, Map, Pictures, Plot


def test_a_huge_picture_is_cut_to_its_limits() -> None:
    line = Line("aligned", list(map(float, range(5001))), [0.0] * 5001)
    maps = [Map("m", "codes", ["q"] * 100, [[1.0] * 1000] * 100)] * 20
    cut = Pictures([Plot("p", "frame", "token", [line])], maps).fitted()
    (kept,) = cut.plots[0].lines
    assert (len(kept.x) <= 400, kept.x[0], kept.x[-1]) == (True, 0.0, 5000.0)
    assert len(cut.maps) == 8
    one = cut.maps[0]
    assert (len(one.rows), len(one.values), len(one.values[0])) == (64, 64, 128)


def test_what_fits_is_kept_as_it_is() -> None:
    line = Line("aligned", [0.0, 1.0], [0.0, 1.0])
    found = Pictures([Plot("p", "frame", "token", [line])])
    assert (found.fitted(), bool(found), bool(Pictures())) == (found, True, False)
