"""The page of a run: what it tells, what it never loses, and what hostile names cannot do to it."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import io
import json
import math
import re
import wave

import pytest

from speech_contract import paths
from speech_telemetry.report import __main__ as command
from speech_telemetry.report.charts import charts, score_charts
from speech_telemetry.report.curves import Curves, Scores
from speech_telemetry.report.folder import read
from speech_telemetry.report.page import render
from speech_telemetry.report.story import numbers_of, prose
from speech_telemetry.report.writing import NotOursError, write_run

HOSTILE = (
    '</script><script>alert(1)</script><img src="https://x.y/z" onerror="alert(1)">&\x00\ud800'
)


def step(number, loss=1.0, **fields):
    return {"step": number, "time": 1000.0 + number, "losses": {"total": loss}, **fields}


def end(code, **progress):
    return {
        "ends": {"exitCode": code, "rule": "", "message": ""},
        "progress": progress,
        "time": 2000.0,
    }


def curves_of(*attempts):
    curves = Curves()
    for number, rows in enumerate(attempts, start=1):
        for row in rows:
            curves.take(row, number)
    curves.settle()
    return curves


def write(run_dir, rows, attempt=1):
    path = paths.series_file(run_dir, attempt)
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def wav(seconds=0.1):
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\x00\x10" * int(8000 * seconds))
    return held.getvalue()


class Page(html.parser.HTMLParser):
    """A page as a browser reads it."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.styles, self.meta = [], [], [], {}
        self._in = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        self._in = tag
        if tag == "meta":
            self.meta[found.get("http-equiv") or found.get("name")] = found.get("content")
        if tag == "script":
            self.scripts.append([found, ""])

    def handle_endtag(self, tag):
        self._in = None

    def handle_data(self, data):
        if self._in == "script":
            self.scripts[-1][1] += data
        if self._in == "style":
            self.styles.append(data)

    @property
    def data(self):
        (text,) = [text for found, text in self.scripts if found.get("type") == "application/json"]
        return json.loads(text)


def page_of(run_dir):
    return Page(render(read(run_dir), 3000.0))


def line(chart, label):
    return next(one for one in chart.lines if one["label"] == label and not one.get("left"))


# ---- curves ----


def test_a_stretch_that_was_rolled_back_is_kept_and_marked():
    back = {
        "step": 2,
        "time": 1006.0,
        "rollbacks": 1,
        "message": "rolled back from step 5 to 2: nan",
    }
    curves = curves_of([*map(step, range(1, 6)), back, *map(step, range(3, 8))])
    assert [s for s, left in zip(curves.steps, curves.left, strict=True) if left] == [3, 4, 5]
    (loss,) = [chart for chart in charts(curves) if chart.title == "Loss"]
    assert line(loss, "total")["x"] == [1, 2, 3, 4, 5, 6, 7]
    assert [one["x"] for one in loss.lines if one.get("left")] == [[3, 4, 5]]
    assert [mark.text for mark in curves.marks if mark.kind == "roll-back"] == [
        "rolled back from step 5 to 2: nan"
    ]


def test_an_attempt_goes_on_where_it_resumed_and_the_lost_steps_are_marked():
    first = [step(n, evaluation={"cer": 0.1 * n}) for n in (1, 2, 3)]
    curves = curves_of(first, [step(3, 9.0, evaluation={"cer": 0.5}), step(4)])
    assert curves.left == [False, False, True, False, False]
    assert [(one.step, one.scores["cer"]) for one in curves.evaluations] == [
        (1, 0.1),
        (2, 0.2),
        (3, 0.5),
    ]


def test_only_what_is_saved_anew_is_a_checkpoint_of_the_time_line():
    saved = [
        {"step": n, "lastCheckpointStep": at} for n, at in ((10, 10), (15, 15), (10, 10), (15, 15))
    ]
    curves = curves_of(
        saved, [{"step": 10, "resumedFromStep": 10, "lastCheckpointStep": 10}, *saved[1:2]]
    )
    assert [(m.attempt, m.step) for m in curves.marks] == [(1, 10), (1, 15), (1, 15), (2, 15)]


def test_a_finding_is_marked_in_the_colour_of_its_severity():
    finding = {"rule": "LossSpike", "status": "Active", "severity": "critical", "evidence": "high"}
    healed = finding | {"status": "Healed"}
    curves = curves_of([step(3), {"step": 2, "finding": finding}, {"step": 2, "finding": healed}])
    assert [(m.step, m.level) for m in curves.marks] == [(2, "Critical"), (3, "Healed")]


def test_two_reports_of_one_step_are_no_roll_back():
    assert (
        curves_of([step(1), {"step": 1, "evaluation": {"cer": 1.0}}, step(2)]).left == [False] * 3
    )


def test_nan_leaves_a_gap_and_a_mark():
    losses = [1.0, "nan", "nan", 2.0, "inf"]
    curves = curves_of([step(n, loss) for n, loss in enumerate(losses, start=1)])
    (loss,) = charts(curves)
    total = line(loss, "total")
    assert total["y"] == [1.0, None, None, 2.0, None]
    assert total["bad"] == [[2, 3, "NaN", 2], [5, 5, "Inf", 1]]


def test_of_very_many_nans_none_is_dropped_and_the_page_stays_small():
    curves = curves_of([step(n, "nan" if n % 2 else 1.0) for n in range(1, 5_001)])
    total = line(next(iter(charts(curves))), "total")
    assert sum(stretch[3] for stretch in total["bad"]) == 2_500
    assert len(total["bad"]) <= 301


def test_speeds_come_from_counters_and_the_clock():
    rows = [step(n, audioSecondsTotal=8.0 * n, dataWaitSeconds=0.25 * n) for n in (1, 2, 3)]
    found = {chart.title: chart for chart in charts(curves_of(rows))}
    assert found["Throughput, pauses included"].lines[0]["y"] == [8.0, 8.0]
    assert found["Waiting for data"].lines[0]["y"] == [0.25, 0.25]


def test_a_score_stands_beside_what_trivial_answers_score():
    found = [Scores(n, {"snr": n + 0.5, "odd": math.nan}) for n in (10, 20)]
    snr, odd = score_charts(found, {"snr": {"silence": 0.0}})
    assert [(one["label"], one["y"]) for one in snr.lines] == [
        ("model", [10.5, 20.5]),
        ("silence", [0.0, 0.0]),
    ]
    assert odd.lines[0]["bad"] == [[10, 20, "NaN", 2]]


def test_the_newest_numbers_are_those_of_the_last_progress_and_roll_backs_those_of_all_attempts():
    first = [step(1), end(40, step=5, loss="nan", rollbacks=2, discardedSteps=7)]
    second = [step(3), end(0, step=9, loss=0.5, rollbacks=1, discardedSteps=1, verdict="Healthy")]
    found = numbers_of(curves_of(first, second))
    assert (found["step"], found["loss"], found["rollbacks"], found["discardedSteps"]) == (
        9,
        0.5,
        3,
        8,
    )


def test_what_is_counted_stands_to_the_end_over_roll_backs_and_attempts():
    first = [
        step(1, nonFiniteSteps=0),
        step(4, nonFiniteSteps=2),
        step(2, rollbacks=1),
        step(3, nonFiniteSteps=3),
    ]
    second = [step(2, nonFiniteSteps=0), step(5, nonFiniteSteps=1), step(6)]
    found = {chart.title: chart for chart in charts(curves_of(first, second))}
    (counted,) = found["Skips, of all attempts so far"].lines
    assert (counted["x"], counted["y"]) == ([1, 4, 5, 6], [0.0, 3.0, 4.0, 4.0])


def test_the_parts_of_a_loss_have_a_chart_of_their_own():
    rows = [{**step(n), "losses": {"mel": 2.0, "total": 3.0}} for n in (1, 2)]
    found = {
        chart.title: [one["label"] for one in chart.lines] for chart in charts(curves_of(rows))
    }
    assert found == {"Loss": ["total"], "Loss by component": ["mel"]}


def test_a_run_by_hand_that_repeats_its_number_has_not_ended_yet():
    again = {"opens": {"job": "run"}, "time": 3000.0}
    curves = curves_of([step(1), step(2), end(40, step=2, rollbacks=1), again, step(1, 7.0)])
    (attempt,) = curves.attempts
    assert (attempt.exit_code, attempt.ended, attempt.numbers["step"]) == (None, None, 1)
    assert curves.left == [False, True, False]


def test_without_an_end_it_is_said_that_none_was_written():
    ((_, said), *_) = prose(curves_of([step(7)]))
    assert said == "steps 7 to 7; no end was written: it runs, or it was killed"


def test_the_prose_names_the_rule_the_evidence_and_the_remedy():
    finding = {
        "rule": "NonFinite",
        "status": "Active",
        "evidence": "nan at step 6",
        "remedy": "lower the rate",
    }
    ended = {"ends": {"exitCode": 40, "rule": "NonFinite", "message": "budget spent"}, "time": 9.0}
    told = dict(prose(curves_of([step(6), {"step": 6, "finding": finding}, ended])))
    assert told["attempt 1"] == "steps 6 to 6; ended with exit code 40, NonFinite: budget spent"
    assert (told["NonFinite"], told["next"]) == ("nan at step 6", "lower the rate")


# ---- the page ----


def test_the_page_runs_its_own_scripts_alone_and_asks_nobody(tmp_path):
    write(tmp_path, [step(1)])
    page = page_of(tmp_path)
    policy = page.meta["Content-Security-Policy"]
    held = [text for found, text in page.scripts if "type" not in found]
    hashes = [
        base64.b64encode(hashlib.sha256(t.encode()).digest()).decode()
        for t in [*held, *page.styles]
    ]
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == set(hashes)
    assert len(held) == 2
    # The licence travels along.
    assert "Permission is hereby granted" in render(read(tmp_path), 0.0)
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    outside = [
        (t, a)
        for t, a in page.tags
        for name, v in a.items()
        if name in ("src", "href") and "data:" not in v
    ]
    assert outside == []


def test_hostile_text_stays_text(tmp_path):
    finding = {
        "rule": HOSTILE,
        "status": "Active",
        "severity": HOSTILE,
        "evidence": HOSTILE,
        "remedy": HOSTILE,
    }
    rows = [
        {"opens": {"job": HOSTILE, "recipe": HOSTILE}, "time": 1.0},
        {
            **step(1),
            "losses": {HOSTILE: 1.0},
            "evaluation": {HOSTILE: 1.0},
            "badStep": 1,
            "badModule": HOSTILE,
        },
        {"step": 1, "finding": finding},
        {
            "ends": {"exitCode": 40, "rule": HOSTILE, "message": HOSTILE},
            "progress": {"verdict": HOSTILE},
        },
    ]
    write(tmp_path, rows)
    result = {"step": 1, "scores": {HOSTILE: 1.0}, "baselines": {HOSTILE: {HOSTILE: 2.0}}}
    (tmp_path / paths.RESULT).write_text(json.dumps(result))
    (tmp_path / paths.CONFIG).write_text(json.dumps({HOSTILE: HOSTILE}))
    event = {
        "event": "strategic_log",
        "step": 1,
        "section": HOSTILE,
        "facts": {HOSTILE: [{HOSTILE: HOSTILE}]},
    }
    (tmp_path / paths.EVENTS).write_text(json.dumps(event) + "\n")
    folder = tmp_path / "samples" / "step-1"
    folder.mkdir(parents=True)
    (folder / "1-<b onclick=x>.wav").write_bytes(wav())
    written = write_run(tmp_path, 3000.0).read_text(encoding="utf-8")
    page = Page(written)
    assert len(page.scripts) == 3
    assert {tag for tag, _ in page.tags} & {"img", "b", "iframe", "object"} <= {"b"}
    assert [a for _, a in page.tags if any(name.startswith("on") for name in a)] == []
    assert "\x00" not in written
    assert page.data["charts"][0]["lines"][0]["label"] == HOSTILE  # and nothing of it is lost


def test_recordings_pictures_config_and_environment_are_carried(tmp_path):
    write(tmp_path, [{"opens": {"job": "voice", "python": "3.11"}, "time": 1.0}, step(1)])
    folder = tmp_path / "samples" / "step-1"
    folder.mkdir(parents=True)
    for kind in ("synthesized", "recorded"):
        (folder / f"1-{kind}.wav").write_bytes(wav())
    (folder / "alignment.png").write_bytes(b"\x89PNG")
    (tmp_path / paths.CONFIG).write_text('{"hidden": 8}')
    (tmp_path / paths.EVENTS).write_text(
        '{"event": "run_configured", "device": "cpu", "torch": "2.11.0"}\n{"ev'
    )
    story = read(tmp_path)
    assert [[sound.name for sound in group] for group in story.sounds] == [
        ["recorded", "synthesized"]
    ]
    assert story.config == {"hidden": 8}
    assert dict(story.environment) == {"python": "3.11", "device": "cpu", "torch": "2.11.0"}
    page = page_of(tmp_path)
    kinds = [(tag, a["src"].partition(";")[0]) for tag, a in page.tags if "src" in a]
    assert kinds == [
        ("audio", "data:audio/wav"),
        ("audio", "data:audio/wav"),
        ("img", "data:image/png"),
    ]


PICTURES = {
    "plots": [
        {"title": "1: alignment", "across": "frame", "up": "token", "note": HOSTILE,
         "lines": [{"label": "aligned", "x": [0, 2, 3], "y": [0, 1, 2]}, {"label": "bad", "x": ["nan"], "y": [1]}]},
    ],
    "maps": [
        {"title": "Codebooks", "across": "codes", "rows": ["q0"], "values": [[2.0, 0.5]]},
        {"title": "uneven", "across": "codes", "rows": ["q0", "q1"], "values": [[2.0, 0.5], [1.0]]},
    ],
}  # fmt: skip


def with_pictures(run_dir, text):
    write(run_dir, [step(1)])
    folder = run_dir / "samples" / "step-1"
    folder.mkdir(parents=True)
    (folder / "pictures.json").write_text(text)


def test_what_an_evaluation_drew_is_carried_and_what_cannot_be_drawn_is_not(tmp_path):
    with_pictures(tmp_path, json.dumps(PICTURES))
    attention = {
        "layer 0": {"reference audio": 0.2, "reference audio, by head": [0.1, 0.3]},
        "layer 1": {"reference audio": 0.4, "reference audio, by head": [0.4, "inf"]},
        "verdict": "layer 1, head 0",
    }
    event = {
        "event": "strategic_log",
        "step": 1,
        "section": "Shared attention",
        "facts": attention,
    }
    (tmp_path / paths.EVENTS).write_text(json.dumps(event) + "\n")
    drawn = page_of(tmp_path).data["pictures"]
    assert [line["label"] for line in drawn["plots"][0]["lines"]] == ["aligned"]
    assert [one["title"] for one in drawn["maps"]] == ["Codebooks"]  # an infinite share is none
    attention["layer 1"]["reference audio, by head"] = [0.4, 0.0]
    (tmp_path / paths.EVENTS).write_text(json.dumps(event) + "\n")
    found = page_of(tmp_path).data["pictures"]["maps"][1]
    assert found["title"] == "Shared attention, step 1: reference audio"
    assert (found["rows"], found["values"]) == (["layer 0", "layer 1"], [[0.1, 0.3], [0.4, 0.0]])


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"maps": 3}',
        '{"plots": [{"title": 1}]}',
        "x" * 1_100_000,
        "[" * 100_000,
        '{"maps": [{"title": "", "across": "", "rows": [""], "values": [[1%s]]}]}' % ("0" * 400),
    ],
    ids=["cut", "list", "number", "lines", "large", "deep", "huge"],
)
def test_pictures_that_are_none_are_told(tmp_path, text):
    with_pictures(tmp_path, text)
    story = read(tmp_path)
    assert "pictures.json" in story.notes[0]
    assert not story.drawn
    assert "Pictures of the last evaluation" not in render(story, 0.0)


def test_only_a_loss_that_spans_two_decades_is_drawn_by_its_logarithm():
    far, near = ([step(1, first), step(2, 1.0)] for first in (101.0, 99.0))
    assert [next(iter(charts(curves_of(rows)))).log for rows in (far, near)] == [True, False]


def test_no_file_outside_the_samples_is_carried(tmp_path):
    run_dir = tmp_path / "run"
    write(run_dir, [step(1)])
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "1-key.wav").write_bytes(wav())
    (run_dir / "samples" / "step-1").mkdir(parents=True)
    (run_dir / "samples" / "step-1" / "1-link.wav").symlink_to(tmp_path / "secret" / "1-key.wav")
    result = {
        "step": 1,
        "scores": {"cer": 1.0},
        "samples": ["../secret/1-key.wav", str(tmp_path / "secret/1-key.wav")],
    }
    (run_dir / paths.RESULT).write_text(json.dumps(result))
    assert read(run_dir).sounds == []


def test_a_damaged_directory_is_told_of_as_far_as_it_goes(tmp_path):
    write(tmp_path, [step(1)])
    with paths.series_file(tmp_path, 1).open("a") as file:
        file.write(
            "{\n[]\n"
            + '{"opens": 3}\n{"step": 2, "losses": "x"}\n{"step": 3, "finding": 1}\n{"ends": 1}\n'
        )
    (tmp_path / paths.RESULT).write_text("{")
    (tmp_path / paths.CONFIG).write_text("{")
    story = read(tmp_path)
    assert len(story.notes) == 3
    assert Page(render(story, 0.0)).data["numbers"]["step"] == 2


def test_where_the_time_went_is_a_bar_that_says_who_counted(tmp_path):
    opening = {"opens": {"job": "voice"}, "time": 991.0}
    write(tmp_path, [opening, *(step(n) for n in range(1, 11)), end(0)])
    page = write_run(tmp_path, 3000.0).read_text(encoding="utf-8")
    assert "productive 16m39s" in page
    assert "startup 10s" in page
    assert (
        "goodput 0.990: productive time over all but the queued; counted by the run's own rows"
        in page
    )


def test_a_score_that_is_not_beaten_is_marked(tmp_path):
    write(tmp_path, [step(1)])
    result = {
        "step": 1, "scores": {"dtw_mel": 1.2}, "specs": {"dtw_mel": {"better": "Lower"}},
        "baselines": {"constant_frame": {"dtw_mel": 1.1}},
    }  # fmt: skip
    (tmp_path / paths.RESULT).write_text(json.dumps(result))
    assert '<td class="Warning">1.1 (not beaten)</td>' in render(read(tmp_path), 0.0)


def test_a_file_that_is_not_ours_is_left_alone(tmp_path):
    write(tmp_path, [step(1)])
    write_run(tmp_path, 1.0)
    again = write_run(tmp_path, 2.0)
    assert "1970-01-01 00:00:02 UTC" in again.read_text()
    again.write_text("<html>somebody's own</html>")
    with pytest.raises(NotOursError, match="is no report of ours"):
        write_run(tmp_path, 3.0)
    assert again.read_text() == "<html>somebody's own</html>"


def test_the_command_says_why_it_could_not(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "_give_way", lambda: None)
    with pytest.raises(SystemExit, match="2"):
        command.main([])
    write(tmp_path, [step(1)])
    assert command.main([str(tmp_path)]) == 0
    (tmp_path / paths.REPORT).write_text("not ours")
    assert command.main([str(tmp_path)]) == 1
    assert "is no report of ours" in capsys.readouterr().err


def test_what_is_inlined_is_what_was_vetted():
    """uPlot 1.6.32 as npm has it, MIT; a new version is a new hash here, read before."""
    from importlib import resources

    assets = resources.files("speech_telemetry.report") / "assets"
    script = (assets / "uPlot.iife.min.js").read_bytes()
    assert (
        hashlib.sha256(script).hexdigest()
        == "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"
    )
    assert "MIT License" in (assets / "uPlot.LICENSE").read_text()
