"""One fault, followed from the report of a rank to every place where a person may read of it: the same words.

Through the real judge, exporter, log, board, reconcile and command line; in mode Enforce and in mode Notify, which
says what it would have done and does nothing.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from speech_cli.rendering import why
from speech_cli.rendering.events import EventRow
from speech_cli.rendering.live import finding_line
from speech_cli.rendering.view import view_of
from speech_contract import codec, metrics
from speech_contract.findings import Action, Finding, Verdict
from speech_contract.outcome import EXIT_NON_FINITE, Outcome, decode, encode
from speech_contract.phases import Phase
from speech_contract.preflight import Check, CheckResult, Mark, PreflightReport, PreflightVerdict
from speech_contract.progress import Rule, Severity
from speech_contract.reasons import Condition
from speech_contract.recipes import CustomRecipe, RecipeSpec
from speech_contract.report import BadStep, Codebook, Match, Memory, Peers, Plan, Weights
from speech_contract.run_config import Checkpoint, RunConfig, Training
from speech_contract.stated import Expectation, LogPattern
from speech_contract.thresholds import HealthMode, OnExceeded, Thresholds
from speech_contract.wire import Datagram
from speech_health.samples import Source, StepSample
from speech_operator import status as st
from speech_operator.progress import parse_progress
from speech_operator.reconcile import reconcile
from speech_telemetry.board import Board
from speech_telemetry.judge import Judge
from speech_telemetry.logs import EventLog

NAN = math.nan
RANGE = Expectation(max="1e6", on_exceeded=OnExceeded.STOP)
PATTERN = LogPattern("fell-back", "falling back to cpu", action=OnExceeded.RESTART)


class Bench:
    """A judge with all its outlets; one call is one report, one second apart."""

    def __init__(self, mode: HealthMode) -> None:
        self.now = 1_700_000_000.0
        self.mode = mode
        self.log = io.StringIO()
        config = RunConfig(
            namespace="speech", name="asr", uid="u", attempt=1, token="t", num_nodes=1, ranks_per_node=1,
            master_address="127.0.0.1", master_port=1, supervisor_addresses=[], run_dir="/run",
            recipe=RecipeSpec(custom=CustomRecipe()), training=Training(), checkpoint=Checkpoint(uri="/run"),
            health=Thresholds(mode=mode, expect={"loss": RANGE}, log_patterns=(PATTERN,)),
        )  # fmt: skip
        log = EventLog("supervisor", self.log, self.clock)
        self.judge = Judge(config, {0: 0}, Board(1, self.clock), log, self.clock, self.clock)
        self.judge.start()

    def clock(self) -> float:
        return self.now

    def report(self, step: int, loss: float | None = 1.0, **fields: Any) -> None:
        """A rank's own report; the losses differ a little, as losses do."""
        self.now += 1.0
        losses = None if loss is None else {"loss": loss}
        fields.setdefault("losses", losses)
        self.judge.take_datagram(Datagram(0, step, self.now, **fields), 0)

    def say(self, step: int, loss: float, norm: float | None = None) -> None:
        """A line read off its output."""
        self.now += 1.0
        losses = {"loss": loss}
        self.judge.take_stdout(
            StepSample(
                time=self.now, now=self.now, step=step, rank=0, source=Source.STDOUT, losses=losses,
                gradient_norm=norm,
            )
        )  # fmt: skip

    def healthy(self, steps: int) -> int:
        for step in range(1, steps + 1):
            loss = 1.5 - step / 1000 + 0.01 * math.sin(step)  # it learns
            self.report(step, loss, gradient_norm=1.0 + 0.1 * math.cos(step))
        return steps

    def wait(self, seconds: float, phase: Phase = Phase.TRAINING, age: float | None = None) -> None:
        """Let time pass, with the phase stamp as old as that."""
        self.now += seconds
        stamp = seconds if age is None else age
        self.judge.tick({0: (10, phase, stamp)}, 0)


def our_nan(bench: Bench) -> None:
    """The engine gates and tells."""
    bench.healthy(10)
    for step in range(11, 17):
        bench.report(
            step, NAN, gated=True, non_finite_steps=step - 10, bad_step=step, bad_component="mel"
        )


def their_nan(bench: Bench) -> None:
    for step in range(1, 9):
        bench.report(step, NAN if step > 3 else 1.0)


def disguised_nan(bench: Bench) -> None:
    """A logger that filters NaN prints 0.0."""
    for step in range(1, 30):
        bench.say(step, 0.0, NAN)


def zero_loss(bench: Bench) -> None:
    for step in range(1, 25):
        bench.report(step, 0.0)


def no_gradient(bench: Bench) -> None:
    for step in range(1, 6):
        bench.report(step, 1.0 / step, gradient_norm=0.0, learning_rate=1e-3, updates=step)


def skipped(bench: Bench) -> None:
    for step in range(1, 40):
        bench.report(step, 1.0 / step, samples_total=8 * step, skipped={"DecodeError": 4 * step})


def loss_spike(bench: Bench) -> None:
    start = bench.healthy(200)
    for step in range(start + 1, start + 120):
        bench.report(step, 9.0 + 0.01 * math.sin(step), gradient_norm=1.0)


def gradient_spike(bench: Bench) -> None:
    start = bench.healthy(200)
    for step in range(start + 1, start + 40):
        bench.report(step, 1.0 + 0.01 * math.sin(step), gradient_norm=90.0 + math.sin(step))


def a_guess(bench: Bench) -> None:
    """A cross entropy over 256 codes that answers nothing."""
    for step in range(1, 260):
        bench.report(step, math.log(256) * (1.0 + 0.001 * math.sin(step)))


def slow_steps(bench: Bench) -> None:
    for step in range(1, 161):
        bench.report(step, 2.0 - step / 200, step_seconds=0.5 if step < 90 else 2.5)


def constant(bench: Bench) -> None:
    for step in range(1, 60):
        bench.report(step, losses={"loss": 1.0 + 0.1 * math.sin(step), "g/kl": 0.5})


def stall(bench: Bench) -> None:
    bench.healthy(10)
    bench.wait(400.0)


def missing(bench: Bench) -> None:
    bench.now += 400.0
    bench.judge.tick({}, 0)


def stale(bench: Bench) -> None:
    bench.healthy(10)
    for _ in range(13):
        bench.wait(10.0, age=0.0)


def still_weights(bench: Bench) -> None:
    bench.healthy(99)
    bench.report(100, weights=Weights(100, 0, 100, {"flow": 1.0}, {"flow": 0.0}))


def rewritten_rate(bench: Bench) -> None:
    for step in range(1, 30):
        bench.report(step, 1.0 / step, learning_rate=5e-5, planned_rate=1e-4)


def leak(bench: Bench) -> None:
    bench.healthy(10)
    for reading in range(120):
        bench.now += 5.0
        held = (2 << 30) + reading * (200 << 20)
        bench.judge.take_memory(0, Memory(held, max(1, (16 << 30) - held)))
        bench.report(11 + reading, 1.0 + 0.01 * math.sin(reading))


def collapsed_books(bench: Bench) -> None:
    dead = {f"q{level}": Codebook(perplexity=1.1, size=1024) for level in range(4)}
    for step in range(1, 300):
        bench.report(step, 1.0 / step, codebooks=dead)


def too_fast(bench: Bench) -> None:
    for step in range(1, 60):
        bench.report(step, 1.0 + step % 3, audio_seconds_total=90_000.0 * step)


def too_little(bench: Bench) -> None:
    plan = Plan(300, fresh=True, parameters=74_700_000, audio_seconds=165.0)
    bench.report(1, plan=plan)
    bench.report(2, 0.9)


def flipped_bit(bench: Bench) -> None:
    bench.healthy(99)
    bench.report(100, peers=Peers(step=100, groups=[[0, 1], [2]], agreed_step=50, differs="flow"))


def out_of_range(bench: Bench) -> None:
    for step in range(1, 4):
        bench.report(step, 2e6 + step)


def a_line_of_the_script(bench: Bench) -> None:
    bench.report(1)
    bench.judge.take_matches(0, {"fell-back": Match(1, "falling back to cpu", 0, 1)})


def failed_check(bench: Bench) -> None:
    """The trainer checks, tells and ends itself."""
    row = CheckResult(Check.GRADIENTS, Mark.FAILED, "flow", "norm 0", "above 0", "look")
    notify = bench.mode is HealthMode.NOTIFY
    verdict = PreflightVerdict.WOULD_HAVE_FAILED if notify else PreflightVerdict.FAILED
    bench.report(0, None, preflight=PreflightReport(verdict, 1.0, checks=9, results=(row,)))
    bench.report(1)


FAULTS: dict[str, tuple[Callable[[Bench], None], Rule, Action, Action]] = {
    "our nan": (our_nan, Rule.NON_FINITE, Action.GATED, Action.WOULD_ROLL_BACK),
    "their nan": (their_nan, Rule.NON_FINITE, Action.STOPPED, Action.WOULD_STOP),
    "disguised nan": (disguised_nan, Rule.NON_FINITE, Action.STOPPED, Action.WOULD_STOP),
    "zero loss": (zero_loss, Rule.ZERO_LOSS, Action.STOPPED, Action.WOULD_STOP),
    "no gradient": (no_gradient, Rule.NO_GRADIENT, Action.STOPPED, Action.WOULD_STOP),
    "skipped": (skipped, Rule.SKIPPED_SAMPLES, Action.STOPPED, Action.WOULD_STOP),
    "loss spike": (loss_spike, Rule.LOSS_SPIKE, Action.RESTARTED, Action.WOULD_RESTART),
    "gradient spike": (gradient_spike, Rule.GRADIENT_SPIKE, Action.WARNED, Action.WARNED),
    "a guess": (a_guess, Rule.PLATEAU, Action.WARNED, Action.WARNED),
    "slow steps": (slow_steps, Rule.SLOWDOWN, Action.WARNED, Action.WARNED),
    "constant": (constant, Rule.CONSTANT_COMPONENT, Action.WARNED, Action.WARNED),
    "stall": (stall, Rule.STALLED, Action.RESTARTED, Action.WOULD_RESTART),
    "missing": (missing, Rule.TELEMETRY_MISSING, Action.WARNED, Action.WARNED),
    "stale": (stale, Rule.TELEMETRY_STALE, Action.WARNED, Action.WARNED),
    "still weights": (still_weights, Rule.NOT_UPDATING, Action.STOPPED, Action.WOULD_STOP),
    "rewritten rate": (rewritten_rate, Rule.SCHEDULE_MISMATCH, Action.WARNED, Action.WARNED),
    "leak": (leak, Rule.MEMORY_GROWTH, Action.WARNED, Action.WARNED),
    "collapsed books": (collapsed_books, Rule.CODEBOOK_COLLAPSE, Action.STOPPED, Action.WOULD_STOP),
    "too fast": (too_fast, Rule.IMPLAUSIBLE, Action.STOPPED, Action.WOULD_STOP),
    "too little": (too_little, Rule.GOAL_UNREACHABLE, Action.WARNED, Action.WARNED),
    "flipped bit": (flipped_bit, Rule.RANK_DIVERGENCE, Action.RESTARTED, Action.WOULD_RESTART),
    "out of range": (out_of_range, Rule.EXPECTATION, Action.STOPPED, Action.WOULD_STOP),
    "a line": (a_line_of_the_script, Rule.LOG_PATTERN, Action.RESTARTED, Action.WOULD_RESTART),
    "failed check": (failed_check, Rule.PREFLIGHT, Action.STOPPED, Action.WOULD_STOP),
}


@pytest.fixture(params=[HealthMode.ENFORCE, HealthMode.NOTIFY], ids=["enforce", "notify"])
def mode(request: pytest.FixtureRequest) -> HealthMode:
    found: HealthMode = request.param
    return found


def judged(fault: str, mode: HealthMode) -> tuple[Bench, Finding]:
    """The fault's one finding after it ran its course."""
    bench = Bench(mode)
    FAULTS[fault][0](bench)
    bench.judge.publish()
    (finding,) = [f for f in bench.judge.findings if f.severity is not Severity.INFO]
    return bench, finding


@pytest.mark.parametrize("fault", FAULTS)
def test_one_cause_pages_once_and_notify_never_acts(fault: str, mode: HealthMode) -> None:
    bench, finding = judged(fault, mode)
    _, rule, acted, would = FAULTS[fault]
    notify = mode is HealthMode.NOTIFY
    assert finding.rule is rule
    assert finding.action is (would if notify else acted)
    if notify:
        assert bench.judge.decision is None
    said = "mode Notify: would have " in finding.evidence
    assert said is (notify and would is not Action.WARNED)


def places(build: Any, bench: Bench, mode: HealthMode) -> Iterator[tuple[str, str]]:
    """Where a person may read of the finding, and what stands there."""
    progress = bench.judge.board.progress
    yield "/progress", codec.dumps(progress)
    told = parse_progress(codec.dumps(progress).encode())
    assert told is not None
    spec = build.spec(nodes=1, health={"mode": mode.value})
    seen = build.seen(build.pod(0), spec=spec, progress=told)
    plan = reconcile(seen, bench.now)
    (finding,) = [f for f in plan.status.health.findings if f.severity is not Severity.INFO]
    yield "status", json.dumps(codec.to_document(finding))
    condition = st.condition(plan.status, Condition.HEALTHY)
    assert condition is not None
    yield "condition", f"{condition.reason}: {condition.message}"
    event = next(e for e in plan.events if e.reason == finding.rule.value)
    yield "event", f"{event.reason}: {event.message}"
    lines = [json.loads(line) for line in bench.log.getvalue().splitlines()]
    yield "log", json.dumps([x for x in lines if x["event"] == "finding_raised"][-1])
    document = {
        "metadata": {"name": "asr", "namespace": "speech"},
        "status": codec.to_document(plan.status),
    }
    view = view_of(document)
    yield "status table", finding_line(view.findings[0])
    answer = why.explain(document, [], why.Evidence(events=tuple[EventRow, ...]()), 0.0)
    yield "why", "\n".join(text for _, text in why.lines(answer))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_same_words_everywhere(build: Any, fault: str, mode: HealthMode) -> None:
    bench, finding = judged(fault, mode)
    evidence = json.dumps(finding.evidence)[1:-1]
    for place, text in places(build, bench, mode):
        assert finding.rule.value in text, place
        if place not in ("condition", "event"):  # Kubernetes gives them a reason and a message
            assert finding.action.value in text, place
        assert finding.evidence in text or evidence in text, (place, text)
    exported = bench.judge.exporter.render().decode()
    labels = f'rule="{finding.rule.value}",severity="{finding.severity.value}"'
    assert f"{metrics.HEALTH_FINDING.name}{{{labels}}} 1.0" in exported
    counted = f'{metrics.HEALTH_ACTIONS.name}{{action="{finding.action.value}"}}'
    (line,) = [x for x in exported.splitlines() if x.startswith(counted)]
    assert float(line.split()[-1]) >= 1.0


FIRST_BAD = BadStep(11, "mel", "decoder", 1, ("clips/7.wav", "clips/9.wav"))


def ended_on_nan(bench: Bench) -> Outcome:
    """The engine's budget is spent at step 14; by then the newest bad step is another one."""
    bench.healthy(10)
    for step in range(11, 15):
        bench.report(
            step, NAN, gated=True, non_finite_steps=step - 10, bad_step=step, bad_component="kl",
            bad_module="flow", first_bad=dataclasses.replace(FIRST_BAD, samples=()),
        )  # fmt: skip
    told = Datagram(1, 14, bench.now, gated=True, first_bad=FIRST_BAD)
    bench.judge.take_datagram(told, 0)
    bench.judge.finish(EXIT_NON_FINITE)
    bench.judge.publish(done=True)
    ended = Outcome(
        1, 0, "Done", EXIT_NON_FINITE, "non-finite budget spent", Rule.NON_FINITE.value, 1,
        **bench.judge.board.progress.account,
    )  # fmt: skip
    read = decode(encode(ended))
    assert read is not None
    return read


def first_bad_lines(build: Any, bench: Bench, ended: Outcome) -> Iterator[tuple[str, str]]:
    """What `why` says where the fault began: with pods and without, in a cluster and on one machine alike."""
    seen = build.seen(build.failed(0, EXIT_NON_FINITE, outcome=ended), spec=build.spec(nodes=1))
    status = codec.to_document(reconcile(seen, bench.now).status)
    document = {"metadata": {"name": "asr"}, "status": json.loads(json.dumps(status))}
    for place, outcomes in (("with the pod", [ended]), ("the pod is deleted", [])):
        answer = why.explain(document, outcomes, why.Evidence(), 0.0)
        yield place, dict(why.lines(answer))["first bad"]
    yield "failure", document["status"]["failure"]["message"]


def test_the_first_bad_step_is_the_same_everywhere(build: Any) -> None:
    bench = Bench(HealthMode.ENFORCE)
    told = dict(first_bad_lines(build, bench, ended_on_nan(bench)))
    line = "step 11, rank 1, loss component mel, module decoder, samples clips/7.wav, clips/9.wav"
    assert (told["with the pod"], told["the pod is deleted"]) == (line, line)
    assert "first bad step 11, component mel, module decoder" in told["failure"]


@pytest.mark.parametrize("fault", FAULTS)
def test_off_says_nothing(fault: str) -> None:
    bench = Bench(HealthMode.OFF)
    FAULTS[fault][0](bench)
    bench.judge.publish()
    assert (bench.judge.findings, bench.judge.verdict) == ([], Verdict.UNKNOWN)


def test_every_rule_of_a_run_is_walked() -> None:
    """The operator's own rules are tested with their policies."""
    own = {Rule.TELEMETRY_UNREACHABLE, Rule.NOT_STARTING}
    assert {rule for _, rule, _, _ in FAULTS.values()} == set(Rule) - own
