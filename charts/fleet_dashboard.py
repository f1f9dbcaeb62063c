"""The dashboard of all jobs: which of them need somebody, and what the fleet does. Called by `monitoring`."""

from __future__ import annotations

from typing import Final

from panels import RATE, Object, bars, dashboard, increase, linked, series, stat, table, variable

from speech_contract import metrics as c
from speech_contract.metrics import Metric
from speech_contract.reasons import State

CHOSEN: Final = 'namespace=~"$namespace", team=~"$team"'
EACH: Final = "namespace, job_name"
LEGEND: Final = "{{namespace}}/{{job_name}}"
MOST: Final = 10  # lines that can still be told apart
TO_JOB: Final = (
    "/d/speechtrain-job?var-datasource=${datasource}"
    "&var-namespace=${__data.fields.namespace}&var-job_name=${__data.fields.job_name}"
)
WAITING: Final = (
    State.PENDING, State.REFUSED, State.QUEUED, State.STARTING, State.RESTARTING, State.SUSPENDING,
)  # fmt: skip


def of(metric: Metric, *more: str) -> str:
    """The selector of a metric for the namespaces and teams that were chosen."""
    return f"{metric.name}{{{', '.join((CHOSEN, *more))}}}"


def _count(title: str, about: str, *states: State) -> Object:
    names = "|".join(state.value for state in states)
    jobs = of(c.JOB_STATE, f'state=~"{names}"')
    return stat(title, about, "none", f"count({jobs} == 1)", none="0")


def _highest(value: str) -> str:
    return f"topk({MOST}, max by ({EACH}) ({value}))"


def _rate(metric: Metric) -> str:
    return f"rate({of(metric)}{RATE})"


def _now() -> list[Object]:
    failed = of(c.JOB_STATE, f'state="{State.FAILED.value}"')
    seen = f"{c.JOB_SEEN.name} == 1"
    findings = of(c.JOB_HEALTH_FINDING, 'severity!="info"')
    states = table("Jobs", "Every job and its state; a name leads to its dashboard.",
                   f"max by ({EACH}, team, state) ({of(c.JOB_STATE)} == 1)", none="No job", width=12)  # fmt: skip
    found = table("Findings", "Active warnings and critical findings, as in the status of the jobs.",
                  f"max by ({EACH}, rule, severity) ({findings} == 1)", none="No finding", width=12)  # fmt: skip
    return [
        _count("Running", "Jobs that take steps.", State.RUNNING),
        _count("Waiting", "Jobs that wait for a start, a restart or their end.", *WAITING),
        stat("Critical", "Jobs with a critical finding.", "none", f"count({of(c.JOB_HEALTHY)} == 0)", none="0"),
        stat("Failed, not seen", "Failed jobs that nobody has acknowledged.", "none",
             f"count({failed} == 1 unless on ({EACH}) {seen})", none="0"),
        linked(states, "job_name", "Open the job", TO_JOB),
        linked(found, "job_name", "Open the job", TO_JOB),
    ]  # fmt: skip


def _history() -> list[Object]:
    done = f"max by ({EACH}) ({of(c.STEP)} / {of(c.PLANNED_STEPS)})"
    restarts = f"sum by (reason) ({increase(c.JOB_RESTARTS)}) > 0"
    return [
        bars("Waiting for", "Jobs that wait or were refused, by reason; their conditions tell more.", "none",
             f"sum by (reason) ({of(c.JOB_WAITING)})", "{{reason}}"),
        series("Jobs by state", "How many jobs are in each state.", "none",
               (f"sum by (state) ({of(c.JOB_STATE)})", "{{state}}")),
        series("Restarts", "Gang restarts of all namespaces, by cause.", "short", (restarts, "{{reason}}")),
        bars("Progress", "Share of the planned steps that is done.", "percentunit", done, LEGEND),
        series("Audio", "Seconds of audio trained on in a second, by job.", "suffix: s/s",
               (f"sum by ({EACH}) ({_rate(c.AUDIO_SECONDS)})", LEGEND)),
        series("Goodput", "Share of the time with devices that went into steps which count; the lowest ten.",
               "percentunit", (f"bottomk({MOST}, max by ({EACH}) ({of(c.JOB_GOODPUT)}))", LEGEND)),
        series("Data wait", "Share of the time that a job waits for its next batch; the worst ten.", "percentunit",
               (_highest(_rate(c.DATA_WAIT)), LEGEND)),
        series("Since the last step", "The ten jobs whose last step is longest ago.", "s",
               (_highest(f"time() - {of(c.LAST_STEP)}"), LEGEND)),
        series("Non-finite steps", "By job.", "short",
               (f"sum by ({EACH}) (increase({of(c.NON_FINITE)}{RATE})) > 0", LEGEND)),
        series("Attempts", "Number of the newest attempt, of jobs that were restarted.", "none",
               (f"max by ({EACH}) ({of(c.JOB_ATTEMPT)}) > 1", LEGEND)),
    ]  # fmt: skip


def build() -> Object:
    """The dashboard."""
    variables = [
        variable(name, label, f"label_values({c.JOB_STATE.name}, {name})", many=True)
        for name, label in (("namespace", "Namespace"), ("team", "Team"))
    ]
    return dashboard("fleet", "Speech training fleet", variables, [*_now(), *_history()])
