"""The dashboard of the operator: does it lead, does it keep up, what does it fail at. Called by `monitoring`."""

from __future__ import annotations

from panels import Object, dashboard, increase, quantile, rate, series, stat

from speech_contract import metrics as c


def _panels() -> list[Object]:
    failed = f'sum(increase({c.RECONCILES.name}{{result="failed"}}[5m]))'
    quantiles = ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
    return [
        stat("Leaders", "Replicas at work: 1. None: nothing is started or restarted.", "none",
             f"sum({c.LEADER.name})"),
        stat("Jobs", "Jobs that it keeps an eye on.", "none", f"count({c.JOB_STATE.name} == 1)", none="0"),
        stat("Queue", "Jobs whose pass is under way or waits.", "none", f"max({c.QUEUE_DEPTH.name})"),
        stat("Errors", "Passes of the last five minutes that ended in an error.", "none", failed),
        series("Passes", "Passes over jobs in a second, by their end.", "cps",
               (f"sum by (result) ({rate(c.RECONCILES)})", "{{result}}")),
        series("Duration of a pass", "From a look at the job to its last write.", "s",
               *((quantile(share, c.RECONCILE_DURATION), name) for share, name in quantiles)),
        series("Queue over time", "Jobs whose pass is under way or waits; a rising line: it does not keep up.", "none",
               (f"max({c.QUEUE_DEPTH.name})", "jobs")),
        series("Leader", "Which replica is at work; a change is a hand-over.", "none",
               (f"max by (pod) ({c.LEADER.name})", "{{pod}}")),
        series("Restarts", "Gang restarts over all jobs, by cause.", "short",
               (f"sum by (reason) ({increase(c.JOB_RESTARTS)}) > 0", "{{reason}}")),
        series("Jobs by state", "How many jobs are in each state.", "none",
               (f"sum by (state) ({c.JOB_STATE.name})", "{{state}}")),
    ]  # fmt: skip


def build() -> Object:
    """The dashboard."""
    return dashboard("operator", "Speech training operator", [], _panels())
