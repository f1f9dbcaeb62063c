#!/bin/sh
# prometheus-client 0.26.0: a NaN that is observed falls into no bucket of a Histogram, not even that of +Inf, so `_count`
# passes it over; `_sum` takes it and is NaN until the process ends. A Summary counts it. One NaN loss or norm, and the
# mean that dashboards take (rate of sum by rate of count) is gone for the rest of the run, while nothing is raised:
#   4 observations, one of them NaN: histogram count 3, sum nan; summary count 4, sum nan
packages="prometheus-client==0.26.0"
. "$(dirname "$0")/environment.sh"
cat > probe.py <<'PY'
import math

from prometheus_client import CollectorRegistry, Histogram, Summary

registry = CollectorRegistry()
histogram = Histogram("loss", "Of a step.", buckets=(1, 10), registry=registry)
summary = Summary("norm", "Of a step.", registry=registry)
for value in (0.5, math.nan, 2.0, 3.0):
    histogram.observe(value)
    summary.observe(value)
told = {name: registry.get_sample_value(name) for name in ("loss_count", "loss_sum", "norm_count", "norm_sum")}
infinite = registry.get_sample_value("loss_bucket", {"le": "+Inf"})
print("4 observations, one of them NaN:", told, "bucket of +Inf:", infinite)
assert (told["loss_count"], infinite, told["norm_count"]) == (3.0, 3.0, 4.0)
assert math.isnan(told["loss_sum"]) and math.isnan(told["norm_sum"])
PY
"$python" probe.py
