"""The alerts of the chart: one list, from which `prometheus_rules` and `grafana_rules` write what each server reads.

An expression has a series for each job that is to be told of, always with the value 1, so that no reader need
compare a number that may be NaN. Severity is the finding's own where a health rule speaks, else it is stated.
tests/monitoring proves each silent just before its condition and firing just after.
"""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Final

from speech_contract import metrics as catalogue
from speech_contract.metrics import Metric
from speech_contract.progress import Rule, Severity
from speech_contract.reasons import State

RUNBOOKS: Final = "docs/runbooks.md"
LABELS: Final = ", ".join(catalogue.JOB)
SAME_JOB: Final = "on (namespace, job_name)"
UNSEEN_SECONDS: Final = (
    86400  # a job that ended is told of for a day, if nobody says before that it was seen
)
JOB_WORDS: Final = "{{ $labels.namespace }}/{{ $labels.job_name }}"
WHY: Final = "`speechtrain why {{ $labels.job_name }} -n {{ $labels.namespace }}`"
INFO: Final = Severity.INFO.value


@dataclasses.dataclass(frozen=True)
class Alert:
    """One alert. `severity` "": the expression brings the label. `panel`: title on the dashboard that shows it."""

    name: str
    expr: str
    summary: str  # the same for every job: one notification may speak of many
    description: str
    panel: str
    dashboard: str = "job"
    severity: str = ""
    pending: str = ""  # `for`
    keep: str = ""  # `keep_firing_for`

    @property
    def runbook(self) -> str:
        """Its section, as a path that the chart replaces by an address."""
        return f"{RUNBOOKS}#{self.name.lower()}"

    @property
    def link(self) -> str:
        """Its dashboard, as a path on any Grafana."""
        path = f"/d/speechtrain-{self.dashboard}"
        if self.dashboard != "job":
            return path
        return (
            f"{path}?var-namespace={{{{$labels.namespace}}}}&var-job_name={{{{$labels.job_name}}}}"
        )


def _is(metric: Metric, matcher: str) -> str:
    return f"{metric.name}{{{matcher}}} == 1"


def found(*rules: Rule, other: bool = False) -> str:
    """Active findings of these rules, or of all others, by the supervisor and by the operator.

    The operator's series outlive the pod, so that the fault of a short run is told as well. What is only
    mentioned (a loss scaler's overflow) is no alert.
    """
    names = "|".join(rule.value for rule in rules)
    compare = "!~" if other else "=~" if len(rules) > 1 else "="
    matcher = f'rule{compare}"{names}", severity!="{INFO}"'
    sources = (catalogue.HEALTH_FINDING, catalogue.JOB_HEALTH_FINDING)
    return "\nor ".join(_is(source, matcher) for source in sources)


def each_job(condition: str, *more: str) -> str:
    """One series a job, whoever saw it: one fault pages once. `more`: further labels that are kept."""
    labels = ", ".join((LABELS, *more))
    return f"group by ({labels}) (\n{textwrap.indent(condition, '  ')}\n)"


def unseen(expression: str) -> str:
    """Unless the job ended and somebody has seen it, or had a day to."""
    ended = f"time() - {catalogue.JOB_ENDED.name} > {UNSEEN_SECONDS}"
    seen = f"{catalogue.JOB_SEEN.name} == 1"
    return f"{expression}\nunless {SAME_JOB} (\n  {seen}\n  or {ended}\n)"


def by_finding(*rules: Rule) -> str:
    """Alert while one of these rules has an active finding, as severe as the finding."""
    return unseen(each_job(found(*rules), "severity"))


def _severely(severity: Severity, condition: str) -> str:
    """The condition with a label that findings have."""
    body = textwrap.indent(condition, "  ")
    return f'label_replace(\n{body},\n  "severity", "{severity.value}", "", ""\n)'


UNHEARD: Final = (Rule.TELEMETRY_MISSING, Rule.TELEMETRY_STALE, Rule.TELEMETRY_UNREACHABLE)
NOT_YET: Final = (State.PENDING, State.REFUSED, State.STARTING, State.RESTARTING)


def _non_finite() -> str:
    """Also of a run whose rules are off; but of its losses alone: a scaler's overflow is no fault.

    A NaN is equal to nothing, itself included. A counter that is first seen above 0 has no increase.
    """
    loss = catalogue.LOSS.name
    raw = (
        f'increase({catalogue.NON_FINITE.name}{{kind="loss"}}[5m]) > 0'
        f"\nor {loss} != {loss}\nor abs({loss}) == Inf"
    )
    finding = found(Rule.NON_FINITE)
    unjudged = f"{_severely(Severity.WARNING, raw)}\nunless {SAME_JOB} (\n{textwrap.indent(finding, '  ')}\n)"
    return unseen(each_job(f"{finding}\nor {unjudged}", "severity"))


def _stalled() -> str:
    """The finding knows the pace of the job and its pauses; half an hour is the net for jobs whose rules are off."""
    net = f"time() - {catalogue.LAST_STEP.name} > 1800"
    stalled = f"{found(Rule.STALLED)}\nor {_severely(Severity.CRITICAL, net)}"
    return unseen(each_job(stalled, "severity"))


def _unwatched() -> str:
    """Nothing is reported or answered; or Prometheus does not scrape the pod, whose counter is there from the start."""
    blind = found(*UNHEARD)
    unscraped = (
        f"{_is(catalogue.JOB_STATE, _states(State.RUNNING))}\n"
        f"unless {SAME_JOB} {catalogue.STEPS.name}"
    )
    return unseen(each_job(f"{blind}\nor (\n{textwrap.indent(unscraped, '  ')}\n)"))


def _states(*states: State) -> str:
    names = "|".join(state.value for state in states)
    return f'state{"=~" if len(states) > 1 else "="}"{names}"'


def _stale() -> str:
    """By the run's own rhythm. Before the first checkpoint step 0 counts as one."""
    step = catalogue.STEP.name
    newest = f"({catalogue.CHECKPOINT_STEP.name} or {step} * 0)"
    return each_job(f"{step} - {newest} > 2 * {catalogue.CHECKPOINT_INTERVAL.name}")


def _restarts() -> str:
    """By attempt numbers out of the status: an operator that was restarted itself has not counted."""
    attempt = catalogue.JOB_ATTEMPT.name
    most = f"max by ({LABELS}) ({attempt})"
    least = f"min by ({LABELS}) (min_over_time({attempt}[1h]))"
    return unseen(each_job(f"{most}\n- {least}\n>= 3"))


NOT_LEARNING: Final = (
    Rule.NO_GRADIENT, Rule.NOT_UPDATING, Rule.IMPLAUSIBLE, Rule.CONSTANT_COMPONENT, Rule.PLATEAU,
)  # fmt: skip
# Rules with an alert of their own.
NAMED: Final = (
    Rule.NON_FINITE, Rule.ZERO_LOSS, *NOT_LEARNING, Rule.LOSS_SPIKE, Rule.CODEBOOK_COLLAPSE,
    Rule.SKIPPED_SAMPLES, Rule.STALLED, *UNHEARD,
)  # fmt: skip
WARNING, CRITICAL = Severity.WARNING.value, Severity.CRITICAL.value

JOBS: Final = (
    Alert(
        name="SpeechTrainingNonFinite",
        expr=_non_finite(),
        summary="A training job met NaN or infinite values.",
        description=f"{JOB_WORDS} had losses or gradients that are not finite. {WHY} names the step, the component "
        "and what was done about it.",
        panel="Non-finite steps",
        keep="10m",
    ),
    Alert(
        name="SpeechTrainingZeroLoss",
        expr=by_finding(Rule.ZERO_LOSS),
        summary="A training job reports a loss of exactly 0.",
        description=f"{JOB_WORDS} takes steps with a loss of exactly 0: it is not learning. Look for a swallowed "
        "exception around the step.",
        panel="Loss",
        keep="10m",
    ),
    Alert(
        name="SpeechTrainingNotLearning",
        expr=by_finding(*NOT_LEARNING),
        summary="A training job takes steps and learns nothing from them.",
        description=f"{JOB_WORDS} computes, but its gradient, its weights or its loss say that nothing is learned. "
        f"{WHY} tells which.",
        panel="Movement of the weights",
        keep="10m",
    ),
    Alert(
        name="SpeechTrainingLossSpike",
        expr=by_finding(Rule.LOSS_SPIKE),
        summary="The loss of a training job stands far above its baseline.",
        description=f"{JOB_WORDS} diverges: its loss rose and does not come down. {WHY} names the first high step "
        "and what follows.",
        panel="Loss",
        keep="10m",
    ),
    Alert(
        name="SpeechTrainingCodebookCollapse",
        expr=by_finding(Rule.CODEBOOK_COLLAPSE),
        summary="A codec in training uses few of its codes.",
        description=f"{JOB_WORDS} has codebooks that collapse, stand still or add to the residual: what the codec "
        "writes carries less than its bit rate says.",
        panel="Codebooks",
        keep="10m",
    ),
    Alert(
        name="SpeechTrainingSkippedSamples",
        expr=by_finding(Rule.SKIPPED_SAMPLES),
        summary="A training job skips many of its samples.",
        description=f"{JOB_WORDS} cannot read many of its samples and trains on what is left. {WHY} counts them by "
        "reason.",
        panel="Skipped samples",
        keep="10m",
    ),
    Alert(
        name="SpeechTrainingFinding",
        expr=unseen(each_job(found(*NAMED, other=True), "severity", "rule")),
        summary="A health rule without an alert of its own has found a fault.",
        description=f"{JOB_WORDS}: {{{{ $labels.rule }}}}. {WHY} gives the evidence and the remedy.",
        panel="Findings",
        keep="10m",
    ),
    Alert(
        name="SpeechTrainingStalled",
        expr=_stalled(),
        summary="A training job takes no steps.",
        description=f"{JOB_WORDS} has not finished a step for too long. The Python stacks of its ranks are in the log.",
        panel="Step",
    ),
    Alert(
        name="SpeechTrainingDataStarved",
        expr=each_job(f"rate({catalogue.DATA_WAIT.name}[10m]) > 0.5"),
        summary="A training job waits for data most of its time.",
        description=f"The slowest rank of {JOB_WORDS} has waited for its next batch for more than half of the last "
        "ten minutes: what is paid for stands idle.",
        panel="Data wait",
        severity=WARNING,
        pending="10m",
    ),
    Alert(
        name="SpeechTrainingCheckpointStale",
        expr=_stale(),
        summary="A training job has missed a checkpoint.",
        description=f"{JOB_WORDS} has trained for more than two intervals since its newest checkpoint: all of that "
        "would be lost with its pod.",
        panel="Steps since the checkpoint",
        severity=WARNING,
        pending="5m",
    ),
    Alert(
        name="SpeechTrainingTelemetryMissing",
        expr=_unwatched(),
        summary="A training job cannot be seen.",
        description=f"{JOB_WORDS} runs unwatched: its pod is not scraped, its script reports nothing, or its "
        "supervisor gives no answer.",
        panel="Health",
        severity=WARNING,
        pending="5m",
    ),
    Alert(
        name="SpeechTrainingNeverStarts",
        expr=each_job(_is(catalogue.JOB_STATE, _states(*NOT_YET))),
        summary="A training job does not get as far as its first step.",
        description=f"{JOB_WORDS} has been Pending, Refused, Starting or Restarting for half an hour. {WHY} tells what "
        "it waits for.",
        panel="State",
        severity=WARNING,
        pending="30m",
    ),
    Alert(
        name="SpeechTrainingRestartLoop",
        expr=_restarts(),
        summary="A training job is restarted again and again.",
        description=f"{JOB_WORDS} was restarted three times within an hour. {WHY} lists the attempts and their causes.",
        panel="Attempts",
        severity=WARNING,
    ),
    Alert(
        name="SpeechTrainingJobFailed",
        expr=unseen(each_job(_is(catalogue.JOB_STATE, _states(State.FAILED)))),
        summary="A training job failed for good.",
        description=f"{JOB_WORDS} is Failed: no further attempt follows. {WHY} tells the cause and the remedy.",
        panel="State",
        severity=CRITICAL,
        keep="5m",  # an operator that is restarted leaves a gap, which must not page anew
    ),
)  # fmt: skip

OPERATOR: Final = (
    Alert(
        name="SpeechOperatorDown",
        expr=f"absent({catalogue.LEADER.name} == 1)",
        summary="No speechtrain operator is at work.",
        description="No replica of the operator leads, or none is scraped. Running jobs go on unharmed; nothing is "
        "started, restarted or reported until it is back.",
        panel="Leaders",
        dashboard="operator",
        severity=CRITICAL,
        pending="2m",
    ),
    Alert(
        name="SpeechOperatorReconcileErrors",
        expr=f'group(\n  sum(increase({catalogue.RECONCILES.name}{{result="failed"}}[5m])) > 2\n)',
        summary="The speechtrain operator fails at its jobs.",
        description="For a quarter of an hour passes over jobs have ended in errors. Jobs that run go on; what should "
        "happen to some does not.",
        panel="Passes",
        dashboard="operator",
        severity=WARNING,
        pending="15m",
    ),
)

GROUPS: Final = {"speechtrain-jobs": JOBS, "speechtrain-operator": OPERATOR}
