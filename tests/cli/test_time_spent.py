"""What the time went into, as `status` and `why` say it."""

from __future__ import annotations

from speech_cli.rendering.live import fact_rows
from speech_cli.rendering.time_spent import goodput_text
from speech_cli.rendering.view import JobView, view_of
from speech_cli.rendering.why import Evidence, explain, lines
from speech_contract.goodput import Goodput


def text_of(goodput: Goodput, state: str = "Running", step: int | None = None) -> str:
    return goodput_text(JobView("voice", "default", state=state, step=step, goodput=goodput))


def test_parts_stand_by_size_and_the_queue_apart() -> None:
    spent = Goodput("0.566", 25, 68, 201, 12, 19, 40, 0)
    assert text_of(spent) == (
        "0.566: productive 3m21s, startup 1m08s, discarded 40s, recomputed 19s, stalled 12s; queued 25s"
    )


def test_before_the_first_step_no_share_is_told() -> None:
    assert text_of(Goodput()) == ""
    assert text_of(Goodput(None, 25)) == "no productive step yet: queued 25s"


def test_of_a_job_that_has_ended_nothing_is_still_to_come() -> None:
    spent = Goodput(None, 1, 3)
    assert text_of(spent, "Complete", 40) == "less than a second productive: startup 3s; queued 1s"
    assert text_of(spent, "Failed") == "no productive step: startup 3s; queued 1s"


def test_status_and_why_say_it() -> None:
    status = {"state": "Running", "goodput": {"ratio": "0.900", "productiveSeconds": 90}}
    document = {"metadata": {"name": "asr"}, "status": status}
    said = "0.900: productive 1m30s"
    assert dict(fact_rows(view_of(document)))["goodput"] == said
    assert dict(lines(explain(document, [], Evidence(), 0.0)))["goodput"] == said
