"""Times of the API: RFC 3339 in UTC, whole seconds, as metav1.Time. Called by status code and policies. Pure."""

from __future__ import annotations

import datetime


def to_text(epoch: float) -> str:
    """Seconds since the epoch → `2026-01-31T10:00:00Z`; fractions are dropped."""
    moment = datetime.datetime.fromtimestamp(int(epoch), tz=datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def to_epoch(text: str) -> float:
    """`2026-01-31T10:00:00Z` → seconds since the epoch. Raises ValueError for anything else."""
    return datetime.datetime.fromisoformat(text).timestamp()
