"""How numbers are said to people, for whoever says them: the CLI's words and the page of a run."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """`43s`, `2m31s`, `1h05m`, `3d04h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"
