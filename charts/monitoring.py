"""Builds what the chart ships for Prometheus and Grafana: `python charts/monitoring.py [--check]`.

Dashboards out of the metric catalogue, alert rules for either server out of one list (`alerts`). The files are
committed, because Helm reads files; `--check` compares them and exits with 1 where one differs. Run by hand, by
`make dashboards`, `make check` and tests/monitoring.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import fleet_dashboard
import grafana_rules
import job_dashboard
import operator_dashboard
import prometheus_rules
from panels import Object

FILES: Final = Path(__file__).resolve().parent / "speechtrain" / "files"
DASHBOARDS: Final = {
    "fleet": fleet_dashboard.build,
    "job": job_dashboard.build,
    "operator": operator_dashboard.build,
}


def files() -> dict[Path, str]:
    """Path and text of each file."""
    boards: dict[str, Object] = {name: build() for name, build in DASHBOARDS.items()}
    made = {
        FILES / "dashboards" / f"{name}.json": json.dumps(board, indent=2) + "\n"
        for name, board in boards.items()
    }
    return {
        **made,
        FILES / "speechtrain.rules.yaml": prometheus_rules.text(),
        FILES / "grafana-alerts.yaml": grafana_rules.text(boards),
    }


def main(arguments: Sequence[str]) -> int:
    """Write the files; with `--check` only compare. Returns the exit code."""
    if "--check" not in arguments:
        for path, text in files().items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [
        path.name
        for path, text in files().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if stale:
        sys.stderr.write(f"{', '.join(stale)}: not what charts/ builds; run `make dashboards`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
