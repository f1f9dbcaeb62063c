"""CodebookCollapse: signs that last, levels past help, and books that are merely young."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speech_contract.findings import FindingStatus
from speech_contract.outcome import EXIT_DIVERGED
from speech_contract.progress import Rule, Severity
from speech_contract.report import Codebook, Plan
from speech_contract.thresholds import CodebookCollapse, OnExceeded

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SOUND = Codebook(perplexity=300.0, size=1024, dead=0.1, movement=0.05, residual=0.5)


def report(run: Any, steps: Iterable[int], **books: Codebook) -> None:
    for step in steps:
        run.step(step, loss=1.0 / step, codebooks=dict(books))


def four(book: Codebook) -> Mapping[str, Codebook]:
    return {f"q{level}": book for level in range(4)}


def test_three_levels_near_one_end_the_run(run: Any) -> None:
    report(run, range(10, 1500, 10), **four(SOUND))
    dead = Codebook(perplexity=1.2, size=1024)
    report(run, range(1500, 1600, 10), **{**four(dead), "q3": SOUND})
    decision = run.monitor.decision
    assert decision.exit_code == EXIT_DIVERGED
    assert "3 of 4 codebooks collapsed" in decision.finding.evidence
    assert "perplexity 1.2 below 102 (of 1024 codes)" in decision.finding.evidence
    assert decision.finding.step == 1500


def test_all_levels_end_the_run_when_there_are_fewer(run: Any) -> None:
    report(run, range(1, 300), q0=Codebook(perplexity=1.0, size=512))
    assert run.monitor.decision.finding.step == 201


def test_what_ends_a_run_counts_from_the_last_step_of_grace_on(
    run_with: Callable[..., Any],
) -> None:
    run = run_with(codebook_collapse=CodebookCollapse(grace_steps=50, for_steps=1))
    report(run, range(1, 55), **four(Codebook(perplexity=1.0, size=512)))
    for _ in range(9):  # a step that is told again is no other report
        report(run, range(54, 55), **four(Codebook(perplexity=1.0, size=512)))
    assert run.monitor.decision is None
    report(run, range(55, 56), **four(Codebook(perplexity=1.0, size=512)))  # the fifth
    finding = run.finding(Rule.CODEBOOK_COLLAPSE)
    assert (finding.severity, finding.step) == (Severity.CRITICAL, 51)


@pytest.mark.parametrize(("perplexity", "ends"), [(1.9, True), (2.0, False)])
def test_below_what_ends_a_run_and_not_at_it(
    run_with: Callable[..., Any], perplexity: float, ends: bool
) -> None:
    run = run_with(codebook_collapse=CodebookCollapse(stop_perplexity="2"))
    report(run, range(10, 1600, 10), **four(Codebook(perplexity=perplexity, size=1024)))
    decision = run.monitor.decision
    assert (decision is not None and decision.exit_code == EXIT_DIVERGED) is ends


def test_one_level_is_a_warning_and_heals(run: Any) -> None:
    report(run, range(10, 1500, 10), **four(SOUND))
    report(run, range(1500, 1560, 10), **{**four(SOUND), "q2": Codebook(perplexity=50, size=1024)})
    finding = run.finding(Rule.CODEBOOK_COLLAPSE)
    assert finding.severity is Severity.WARNING
    assert finding.evidence.startswith("codebook q2: perplexity 50 below 102")
    report(run, range(1560, 1570, 10), **four(SOUND))
    assert run.finding(Rule.CODEBOOK_COLLAPSE).status is FindingStatus.HEALED


@pytest.mark.parametrize(
    ("book", "sign"),
    [
        (Codebook(dead=0.9), "codebook q: 90% dead codes"),
        (Codebook(residual=1.4), "codebook q: leaves 1.4 times the residual"),
        (Codebook(movement=1.2e-4), "codebook q: moved by 0.00012 of itself"),
        (Codebook(perplexity=1.5), "codebook q: perplexity 1.5 below 2"),
    ],
)
def test_every_sign_alone_is_told(run_with: Callable[..., Any], book: Codebook, sign: str) -> None:
    run = run_with(codebook_collapse=CodebookCollapse(on_exceeded=OnExceeded.WARN))
    report(run, range(10, 1300, 10), q=book, sound=SOUND)
    findings = [f for f in run.monitor.findings if f.rule is Rule.CODEBOOK_COLLAPSE]
    healed = sign.startswith("codebook q: moved")  # the book is no longer young
    assert findings[0].evidence.startswith(sign)
    assert findings[0].status is (FindingStatus.HEALED if healed else FindingStatus.ACTIVE)


@pytest.mark.parametrize(
    "books",
    [
        [(range(1, 200), Codebook(perplexity=1.0, size=1024, residual=3.0, dead=1.0))],  # young
        [(range(10, 1000, 10), Codebook(perplexity=6.0, size=1024, dead=0.99))],  # not yet judged
        [(range(5000, 5600), Codebook(movement=1e-6))],  # resumed: it has found its place
        [(range(1, 101), Codebook(movement=1e-6))],
        [(range(1, 200), Codebook(perplexity=0.9))],
        [(range(10, 3000, 10), Codebook())],
        [(range(10, 3000, 10), Codebook(perplexity=20.0, size=32))],  # few vectors to measure by
    ],
)
def test_what_is_no_collapse(run: Any, books: list[tuple[range, Codebook]]) -> None:
    for steps, book in books:
        report(run, steps, q=book)
    assert run.rules == []


@pytest.mark.parametrize(
    ("fault", "no_fault", "since"),
    [
        # Within grace, then until shares count, then in full; size None: as many as end a run.
        (Codebook(4.9, 100), Codebook(5.0, 100), 201),
        (Codebook(3.9, 16), Codebook(4.0, 16), 201),
        (Codebook(1.9), Codebook(2.0), 201),
        (Codebook(9.9, 100), Codebook(10.0, 100), 1001),
        (Codebook(102.0, 1024), Codebook(103.0, 1024), 1001),
        (Codebook(dead=0.81), Codebook(dead=0.8), 1001),
        (Codebook(residual=1.01), Codebook(residual=1.0), 201),
        (Codebook(movement=0.00099), Codebook(movement=0.001), 101),
    ],
)
def test_a_sign_counts_from_an_age_on_beyond_its_threshold(
    run_with: Callable[..., Any], fault: Codebook, no_fault: Codebook, since: int
) -> None:
    warn = CodebookCollapse(on_exceeded=OnExceeded.WARN)
    run, sound = run_with(codebook_collapse=warn), run_with(codebook_collapse=warn)
    report(run, [*range(1, since - 5, 33), *range(since - 5, since + 19)], q=fault)
    assert run.finding(Rule.CODEBOOK_COLLAPSE) is None
    report(run, range(since + 19, since + 20), q=fault)  # the twentieth step
    assert run.finding(Rule.CODEBOOK_COLLAPSE).step == since
    report(sound, range(1, since + 300, 5), q=no_fault)
    assert sound.finding(Rule.CODEBOOK_COLLAPSE) is None


@pytest.mark.parametrize(("perplexity", "size", "low"), [(4.9, 40, 5), (3.9, 16, 4), (1.9, 8, 2)])
def test_a_small_book_may_use_a_quarter_of_its_codes_for_good(
    run_with: Callable[..., Any], perplexity: float, size: int, low: float
) -> None:
    run = run_with(codebook_collapse=CodebookCollapse(on_exceeded=OnExceeded.WARN))
    report(run, range(1, 1100, 7), q=Codebook(perplexity + 0.1, size))
    assert run.finding(Rule.CODEBOOK_COLLAPSE) is None
    report(run, range(1100, 1120), q=Codebook(perplexity, size))
    told = f"codebook q: perplexity {perplexity} below {low} (of {size} codes); since step 1100"
    assert told in run.finding(Rule.CODEBOOK_COLLAPSE).evidence


@pytest.mark.parametrize(
    ("first", "still", "told"),
    [
        (1, range(482, 502), True),  # ages 481 to 500
        (1, range(483, 600), False),
        (500, range(700, 720), True),  # first heard of while young
        (501, range(701, 721), False),
    ],
)
def test_a_book_has_to_move_from_its_hundredth_to_its_five_hundredth_step(
    run: Any, first: int, still: range, told: bool
) -> None:
    run.step(0, loss=2.0, plan=Plan(fresh=True))
    report(run, range(first, still.start, 9), q=Codebook(movement=0.0015))
    report(run, still, q=Codebook(movement=1e-6))
    assert (run.finding(Rule.CODEBOOK_COLLAPSE) is not None) is told


@pytest.mark.parametrize(
    ("age", "moved", "told"),
    [(50, 0.00051, False), (30, 0.00029, True), (150, 0.00101, False), (150, 0.00099, True)],
)
def test_a_book_that_data_began_moves_by_as_much_less_as_it_is_younger(
    run: Any, age: int, moved: float, told: bool
) -> None:
    for step in range(10):
        moves = moved + 1e-5 * step if age < 100 else moved  # as the bound does
        run.step(900 + step, codebooks={"q": Codebook(movement=moves, age=age + step)})
        assert (run.finding(Rule.CODEBOOK_COLLAPSE) is not None) is (told and step == 9)


def test_the_first_four_signs_are_named_and_the_others_counted(run: Any) -> None:
    report(run, range(1, 1001, 50), **{f"q{n}": SOUND for n in range(5)})
    bad = {f"q{n}": Codebook(dead=0.9) for n in range(4)}
    report(run, range(1001, 1021), **bad, q4=SOUND)
    told = "; ".join(f"codebook q{n}: 90% dead codes" for n in range(4))
    assert run.finding(Rule.CODEBOOK_COLLAPSE).evidence == f"{told}; since step 1001"
    report(run, range(1021, 1041), **bad, q4=Codebook(dead=0.9))
    evidence = run.finding(Rule.CODEBOOK_COLLAPSE).evidence
    assert evidence == f"{told} and 1 more signs; since step 1001"


def test_two_collapsed_levels_of_four_are_a_warning_of_their_rank(run: Any) -> None:
    books = {**four(SOUND), "q0": Codebook(1.2, 1024), "q1": Codebook(1.2, 1024)}
    for step in range(1, 300, 5):
        run.step(step, rank=3, codebooks=books)
        run.step(step, rank=0, codebooks=dict(four(SOUND)))
    finding = run.finding(Rule.CODEBOOK_COLLAPSE)
    assert (run.monitor.decision, finding.severity) == (None, Severity.WARNING)
    # The sound books of another rank heal nothing.
    assert (finding.status, finding.rank, finding.step) == (FindingStatus.ACTIVE, 3, 201)
    run.step(300, rank=3, codebooks=dict(four(SOUND)))
    assert run.finding(Rule.CODEBOOK_COLLAPSE).status is FindingStatus.HEALED


def test_it_heals_when_no_sign_is_left_not_even_a_new_one(run: Any) -> None:
    report(run, range(1, 221), q=Codebook(4.0, 1024, residual=0.5))
    report(run, range(221, 230), q=Codebook(40.0, 1024, residual=2.0))
    assert run.finding(Rule.CODEBOOK_COLLAPSE).status is FindingStatus.ACTIVE
    report(run, range(230, 231), q=Codebook(40.0, 1024, residual=0.5))
    healed = run.finding(Rule.CODEBOOK_COLLAPSE).evidence
    assert healed.endswith("; healed: every codebook is in use at step 230")
    report(run, range(231, 250), q=Codebook(4.0, 1024))
    assert run.finding(Rule.CODEBOOK_COLLAPSE).status is FindingStatus.HEALED
    report(run, range(250, 251), q=Codebook(4.0, 1024))  # counted anew
    assert run.finding(Rule.CODEBOOK_COLLAPSE).status is FindingStatus.ACTIVE


def test_an_adapted_codec_need_not_move(run: Any) -> None:
    run.step(1, loss=2.0, plan=Plan(fresh=False))
    report(run, range(10, 600, 10), q=Codebook(movement=1e-6))
    assert run.rules == []


def begun(steps: range, start: int, **values: Any) -> Any:
    """Reports of two books that k-means began at `start`."""
    for step in steps:
        book = Codebook(size=256, age=step - start, **values)
        yield step, {"q0": book, "q1": book}


def test_books_that_data_began_are_told_of_within_twenty_steps(run: Any) -> None:
    for step, books in begun(range(60, 80), 60, perplexity=1.1):
        run.step(step, loss=1.0, codebooks=books)
    finding = run.finding(Rule.CODEBOOK_COLLAPSE)
    assert (finding.step, finding.severity) == (60, Severity.CRITICAL)
    assert "2 of 2 codebooks collapsed" in finding.evidence


def test_books_that_data_began_have_to_move_at_once(run: Any) -> None:
    for step, books in begun(range(60, 80), 60, perplexity=40.0, movement=1.2e-7):
        run.step(step, loss=1.0, codebooks=books)
    finding = run.finding(Rule.CODEBOOK_COLLAPSE)
    assert finding.step == 61  # before there was no update
    assert finding.evidence.startswith("codebook q0: moved by 1.2e-07 of itself")


def test_a_resumed_book_of_known_age_has_found_its_place(run: Any) -> None:
    for step, books in begun(range(1000, 1100), 60, perplexity=40.0, movement=1e-7):
        run.step(step, loss=1.0, codebooks=books)
    assert run.rules == []


def test_books_begun_by_k_means_look_poor_at_first(run: Any) -> None:
    """As measured of a sound run: two thirds dead, nine tenths left, and a slow start."""
    for step in range(60, 160):
        age = step - 60
        book = Codebook(12.0, 96, 0.66, min(1.0, 9e-4 * age), 0.95, age=age)
        run.step(step, loss=1.0, codebooks={f"q{level}": book for level in range(8)})
    assert run.rules == []


def test_silent_batches_are_no_collapse(run: Any) -> None:
    for step in range(10, 5000, 10):
        silent = step % 70 in (0, 10, 20)
        report(run, range(step, step + 1), q=Codebook(perplexity=1.0, size=64) if silent else SOUND)
    assert run.rules == []


def test_a_roll_back_starts_over(run: Any) -> None:
    report(run, range(10, 250, 10), q=Codebook(perplexity=1.0, size=64))
    report(run, range(100, 260, 10), q=Codebook(perplexity=1.0, size=64))
    assert run.rules == []


shares = st.floats(0.12, 1.0)


@quick
@given(
    curve=st.lists(
        st.tuples(shares, st.floats(0.0, 0.8), st.floats(0.001, 9.0), st.floats(0.0, 1.0)),
        min_size=1,
        max_size=80,
    ),
    stride=st.integers(1, 60),
)
def test_never_inside_the_band(run_with: Callable[..., Any], curve: Any, stride: int) -> None:
    run = run_with()
    for index, (share, dead, moved, left) in enumerate(curve):
        book = Codebook(1024 * share, 1024, dead, moved, left)
        run.step(1 + index * stride, loss=1.0, codebooks={"0": book})
    assert Rule.CODEBOOK_COLLAPSE not in run.rules


@quick
@given(
    sound=st.integers(201, 1400),
    level=st.floats(1.0, 1.99),
    books=st.integers(1, 9),
    for_steps=st.integers(1, 60),
)
def test_collapsed_books_always_end_the_run_at_the_bound(
    run_with: Callable[..., Any], sound: int, level: float, books: int, for_steps: int
) -> None:
    run = run_with(codebook_collapse=CodebookCollapse(for_steps=for_steps))
    good = {str(n): SOUND for n in range(books)}
    gone = {str(n): Codebook(perplexity=level, size=1024) for n in range(books)}
    run.step(1, loss=1.0, codebooks=good)
    run.step(sound, loss=1.0, codebooks=good)
    for number in range(1, max(5, for_steps) + 1):
        assert run.monitor.decision is None
        run.step(sound + number, loss=1.0, codebooks=gone)
    assert run.monitor.decision.finding.step == sound + 1
