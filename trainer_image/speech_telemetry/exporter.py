"""Prometheus series of one attempt, out of the catalogue in speech_contract.metrics. Used by the supervisor.

The only module that needs prometheus_client: import it when `/metrics` is to be served. Traps avoided here:
a gauge without a value reads 0.0 (a false zero loss), so gauges are registered with their first value; a
counter never forgets a NaN, so every increment is checked; a counter that is first seen at 3 has no
increase, so counters start at 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from speech_contract import metrics as catalogue
from speech_contract.findings import Action, FindingStatus
from speech_contract.metrics import SKIP_REASONS, Kind, Metric
from speech_contract.progress import Progress, Rule
from speech_contract.report import Peers
from speech_health.samples import StepSample

_KINDS = ("loss", "gradient")
_SHOWN = frozenset(field.name for field in dataclasses.fields(Progress))


def _sourced(kind: Kind, *, shown: bool) -> tuple[Metric, ...]:
    """Metrics of a kind whose source is a field of the progress document, or of reports."""
    return tuple(
        metric
        for metric in catalogue.TRAINING_METRICS
        if metric.kind is kind
        and metric.source
        and (metric.source.split(".")[0] in _SHOWN) is shown
    )


_SHOWN_GAUGES, _REPORTED_GAUGES = (_sourced(Kind.GAUGE, shown=shown) for shown in (True, False))
_SHOWN_COUNTERS, _REPORTED_COUNTERS = (
    _sourced(Kind.COUNTER, shown=shown) for shown in (True, False)
)
_COUNTERS = (catalogue.STEPS, catalogue.ZERO_LOSS, *_SHOWN_COUNTERS, *_REPORTED_COUNTERS)


class Exporter:
    """`update` after each batch of reports, `render` for each scrape.

    Not thread-safe against itself: the supervisor updates from one thread; rendering may happen in another.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        recipe: str = "",
        checkpoint_every: int | None = None,
    ) -> None:
        """`checkpoint_every`: steps between two checkpoints; None where the script keeps its own time."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry if registry is not None else CollectorRegistry()
        self._recipe = recipe
        self._checkpoint_every = checkpoint_every
        self._gauges: dict[str, Gauge] = {}
        self._counters = {m.name: self._counter(m) for m in _COUNTERS}
        self._non_finite = self._counter(catalogue.NON_FINITE)
        self._skipped = self._counter(catalogue.SKIPPED)
        for kind in _KINDS:
            self._non_finite.labels(kind)
        for reason in SKIP_REASONS:
            self._skipped.labels(reason)
        self._actions = self._counter(catalogue.HEALTH_ACTIONS)
        for action in Action:
            if action is not Action.NONE:
                self._actions.labels(action.value)
        self._acted: dict[Rule, tuple[Action, float]] = {}  # what was counted last
        self._duration = Histogram(
            catalogue.STEP_DURATION.name,
            catalogue.STEP_DURATION.help,
            buckets=catalogue.STEP_DURATION.buckets,
            registry=self._registry,
        )
        self._reached: dict[str, float] = {}  # series → what its counter was brought up to
        self._by_rank: dict[tuple[str, int], float] = {}  # (metric, rank) → newest cumulative value
        self._bad: dict[int, int] = {}  # rank → non-finite steps known
        self._last_step: dict[int, int] = {}
        self._lead: int | None = None  # the lowest rank that reported
        self._checkpoint: int | None = None

    def update(self, progress: Progress, *newest: StepSample) -> None:
        """Take the progress document and every report that came since the last call."""
        for report in newest:
            self._observe(report)
        self._take_progress(progress)
        self._take_findings(progress)

    def render(self) -> bytes:
        """The text exposition format, version 0.0.4."""
        return generate_latest(self._registry)

    def _observe(self, sample: StepSample) -> None:
        taken = self._steps_taken(sample)
        self._add(catalogue.STEPS, sample.rank, taken, sample.steps_total)
        for counter in _REPORTED_COUNTERS:
            self._bring_up(counter, sample.rank, getattr(sample, counter.source))
        self._take_peers(sample.peers)
        if sample.step_seconds is not None and math.isfinite(sample.step_seconds):
            self._duration.observe(max(0.0, sample.step_seconds))
        if sample.zero_loss and taken:
            self._add(catalogue.ZERO_LOSS, sample.rank, 1)
        self._count_bad(sample)
        self._lead = sample.rank if self._lead is None else min(self._lead, sample.rank)
        if sample.rank == self._lead:
            self._show(_REPORTED_GAUGES, sample)

    def _take_peers(self, peers: Peers | None) -> None:
        if peers is None:
            return
        self._set(catalogue.RANKS_AGREED, peers.agreed_step)
        for metric, values in (
            (catalogue.RANK_GRADIENT_NORM, peers.gradient_norms),
            (catalogue.RANK_WAIT, peers.wait_ratios),
        ):
            for rank, value in enumerate(values):
                self._set(metric, value, str(rank))

    def _steps_taken(self, sample: StepSample) -> int:
        """Steps since the rank's last report; 1 after a roll-back; 0 for a report repeated."""
        last = self._last_step.get(sample.rank)
        self._last_step[sample.rank] = sample.step
        if last is None or sample.step < last:
            return 1
        return sample.step - last

    def _add(self, metric: Metric, rank: int, number: int, total: int | None = None) -> None:
        """Count for a rank that does not count itself (`total` None)."""
        known = self._by_rank.get((metric.name, rank), 0.0)
        self._bring_up(metric, rank, known + number if total is None else total)

    def _bring_up(self, metric: Metric, rank: int, value: float | None) -> None:
        """Bring a counter up to the ranks' cumulative value: their sum, or the furthest one."""
        if value is None or not math.isfinite(value):
            return
        self._by_rank[metric.name, rank] = value
        values = [v for (name, _), v in self._by_rank.items() if name == metric.name]
        self._raise_to(metric.name, self._counters[metric.name], self._join(metric, values))

    def _join(self, metric: Metric, values: list[float]) -> float:
        return sum(values) if metric.summed else max(values)

    def _raise_to(self, series: str, counter: Counter, value: float) -> None:
        before = self._reached.get(series, 0.0)
        if math.isfinite(value) and value > before:
            counter.inc(value - before)
            self._reached[series] = value

    def _count_bad(self, sample: StepSample) -> None:
        """Every rank of ours counts the same agreed steps: the furthest rank stands for all."""
        bad_loss = sample.bad_loss is not None
        seen = bad_loss or sample.bad_gradient
        before = max(self._bad.values(), default=0)
        known = max(self._bad.get(sample.rank, 0), sample.non_finite_steps or 0)
        self._bad[sample.rank] = known + (1 if seen and sample.non_finite_steps is None else 0)
        fresh = max(self._bad.values()) - before
        if fresh > 0:
            kind = "loss" if bad_loss or (sample.bad_component and not seen) else "gradient"
            self._non_finite.labels(kind).inc(fresh)
        if sample.losses is not None or sample.gradient_norm is not None or fresh:
            self._set(catalogue.LOSS_FINITE, 0.0 if seen or fresh else 1.0)

    def _take_progress(self, progress: Progress) -> None:
        self._show(_SHOWN_GAUGES, progress)
        for counter in _SHOWN_COUNTERS:
            self._raise_to(
                counter.name, self._counters[counter.name], getattr(progress, counter.source)
            )
        if not progress.losses and progress.loss is not None:
            self._set(catalogue.LOSS, progress.loss, "loss")
        if progress.step is not None and progress.updated_at > 0:
            self._set(catalogue.LAST_STEP, progress.updated_at)
        self._take_skips(progress.samples_skipped)
        self._take_checkpoint(progress)
        world = str(max(1, len(progress.ranks)))
        facts: tuple[str, ...] = (self._recipe, str(progress.attempt), world, progress.source)
        self._only(catalogue.INFO, {facts: 1.0})

    def _show(self, gauges: Iterable[Metric], document: Progress | StepSample) -> None:
        """Set gauges from their sources. Of a record that is newer as a whole, the series before go."""
        for metric in gauges:
            name, _, inner = metric.source.partition(".")
            value = getattr(document, name)
            if inner and value is not None and not isinstance(value, Mapping):
                whole = getattr(value, inner)
                self._only(metric, {(key,): number for key, number in whole.items()})
            elif isinstance(value, Mapping):
                for key, item in value.items():
                    self._set(metric, getattr(item, inner) if inner else item, key)
            else:
                self._set(metric, value)

    def _take_skips(self, skipped: Mapping[str, int]) -> None:
        """Unknown reasons count as Other: the label stays a closed set."""
        other = sum(n for reason, n in skipped.items() if reason not in SKIP_REASONS)
        for reason in SKIP_REASONS:
            number = skipped.get(reason, 0) + (other if reason == "Other" else 0)
            series = f"{catalogue.SKIPPED.name}/{reason}"
            self._raise_to(series, self._skipped.labels(reason), number)

    def _take_checkpoint(self, progress: Progress) -> None:
        step, before = progress.last_checkpoint_step, self._checkpoint
        every = self._checkpoint_every
        if step is not None and step != before:
            self._checkpoint = step
            self._set(catalogue.LAST_CHECKPOINT, progress.updated_at)
            if every is None and before is not None and step > before:
                every = step - before
        self._set(catalogue.CHECKPOINT_INTERVAL, every)

    def _take_findings(self, progress: Progress) -> None:
        active: dict[tuple[str, ...], float] = {
            (finding.rule.value, finding.severity.value): 1.0
            for finding in progress.findings
            if finding.status is FindingStatus.ACTIVE
        }
        self._only(catalogue.HEALTH_FINDING, active)
        for finding in progress.findings:
            acted = (finding.action, finding.since)
            if finding.action is not Action.NONE and self._acted.get(finding.rule) != acted:
                self._actions.labels(finding.action.value).inc()
            self._acted[finding.rule] = acted

    def _set(self, metric: Metric, value: float | None, *labels: str) -> None:
        """Set a gauge, registering it with its first value. NaN is a value; None is none."""
        if value is None:
            return
        gauge = self._gauge(metric)
        (gauge.labels(*labels) if labels else gauge).set(value)

    def _only(self, metric: Metric, series: Mapping[tuple[str, ...], float]) -> None:
        """Make these the only series of the gauge."""
        if not series and metric.name not in self._gauges:
            return
        gauge = self._gauge(metric)
        stale = {labels for labels in _label_sets(gauge, metric) if labels not in series}
        for labels in stale:
            gauge.remove(*labels)
        for labels, value in series.items():
            gauge.labels(*labels).set(value)

    def _gauge(self, metric: Metric) -> Gauge:
        if metric.name not in self._gauges:
            self._gauges[metric.name] = Gauge(
                metric.name, metric.help, metric.labels, registry=self._registry
            )
        return self._gauges[metric.name]

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self._registry)


def _label_sets(gauge: Gauge, metric: Metric) -> list[tuple[str, ...]]:
    samples = next(iter(gauge.collect())).samples
    return [tuple(sample.labels[name] for name in metric.labels) for sample in samples]
