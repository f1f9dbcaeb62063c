"""Builds the Grafana dashboards of the chart out of the metric catalogue: `python charts/dashboards.py [--check]`.

The JSON is committed, because Helm reads files; `--check` compares it and exits with 1 where it differs.
A panel is one call below; what panels have in common stands in `_panel`. Run by hand, by `make dashboards`
and by tests/monitoring/test_dashboards.py.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from speech_contract import metrics as catalogue

Object = dict[str, Any]
FOLDER: Final = Path(__file__).resolve().parent / "speechtrain" / "files" / "dashboards"
JOB: Final = '{namespace="$namespace", job_name="$job_name"}'
RATE: Final = "[$__rate_interval]"
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA: Final = 39  # of Grafana 10.4; later versions migrate it when they load it
COLUMNS: Final = 24
STATES: Final = {"1": ("Healthy", "green"), "0": ("Critical", "red")}


def of_job(metric: catalogue.Metric, suffix: str = "") -> str:
    """The selector of a metric for the job that the dashboard shows."""
    return f"{metric.name}{suffix}{JOB}"


def rate(metric: catalogue.Metric, suffix: str = "") -> str:
    """Per second, over the interval that suits scrape interval and zoom."""
    return f"rate({of_job(metric, suffix)}{RATE})"


def quantile(share: float) -> str:
    """Of the durations of steps."""
    return f"histogram_quantile({share}, sum by (le) ({rate(catalogue.STEP_DURATION, '_bucket')}))"


def _panel(
    kind: str, title: str, about: str, unit: str, width: int, *queries: tuple[str, str]
) -> Object:
    """A panel of `width` columns out of 24; `queries` are pairs of PromQL and legend."""
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "gridPos": {"w": width, "h": 4 if kind == "stat" else 8},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "options": {},
        "targets": [
            {"datasource": SOURCE, "expr": expr, "legendFormat": legend, "refId": chr(65 + index)}
            for index, (expr, legend) in enumerate(queries)
        ],
    }


def _stat(title: str, about: str, unit: str, expr: str, legend: str = "") -> Object:
    panel = _panel("stat", title, about, unit, 6, (expr, legend))
    panel["fieldConfig"]["defaults"]["noValue"] = "Unknown"
    panel["targets"][0]["instant"] = True
    panel["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
    return panel


def _state() -> Object:
    about = "The state of the job, as in its status."
    panel = _stat(
        "State", about, "none", f"max by (state) ({of_job(catalogue.JOB_STATE)} == 1)", "{{state}}"
    )
    panel["options"]["textMode"] = "name"
    return panel


def _health() -> Object:
    about = "The verdict of the health rules. Unknown: nobody can see whether it learns."
    panel = _stat("Health", about, "none", f"max({of_job(catalogue.JOB_HEALTHY)})")
    options = {value: {"text": text, "color": color} for value, (text, color) in STATES.items()}
    panel["fieldConfig"]["defaults"]["mappings"] = [{"type": "value", "options": options}]
    return panel


def _findings() -> Object:
    about = "Health findings that are active, as the supervisor and the operator see them."
    supervisor, operator = of_job(catalogue.HEALTH_FINDING), of_job(catalogue.JOB_HEALTH_FINDING)
    expr = f"max by (rule, severity) ({supervisor} == 1 or {operator} == 1)"
    panel = _panel("table", "Findings", about, "none", COLUMNS, (expr, ""))
    panel["targets"][0] |= {"instant": True, "format": "table"}
    hidden = {"Time": True, "Value": True}
    panel["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    panel["fieldConfig"]["defaults"]["noValue"] = "No finding"
    return panel


def _series(title: str, about: str, unit: str, *queries: tuple[str, str]) -> Object:
    panel = _panel("timeseries", title, about, unit, COLUMNS // 2, *queries)
    panel["fieldConfig"]["defaults"]["custom"] = {"spanNulls": False, "showPoints": "auto"}
    panel["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}}
    return panel


def _job_panels() -> list[Object]:
    c = catalogue
    eta = f"(max({of_job(c.PLANNED_STEPS)}) - max({of_job(c.STEP)})) / max({rate(c.STEPS)})"
    return [
        _state(),
        _health(),
        _stat("Step", "Batches taken; goes back at a roll-back.", "none", f"max({of_job(c.STEP)})"),
        _stat("Time to the end", "At the pace of the last minutes.", "s", eta),
        _findings(),
        _series("Loss", "By component. A gap is a NaN: see the non-finite steps.", "none",
                (f"max by (name) ({of_job(c.LOSS)})", "{{name}}")),
        _series("Gradient norm", "Over all ranks, before clipping.", "none",
                (f"max({of_job(c.GRADIENT_NORM)})", "norm")),
        _series("Learning rate", "Of the last update.", "sci",
                (f"max({of_job(c.LEARNING_RATE)})", "rate")),
        _series("Non-finite steps", "NaN or infinite losses and gradients; updates gated off.", "short",
                (f"sum by (kind) (increase({of_job(c.NON_FINITE)}{RATE}))", "{{kind}}"),
                (f"sum(increase({of_job(c.ROLLBACKS)}{RATE}))", "roll-backs")),
        _series("Skipped samples", "Samples that the loader had to replace, by reason.", "cps",
                (f"sum by (reason) ({rate(c.SKIPPED)}) > 0", "{{reason}}")),
        _series("Step time", "Of the steps that were reported.", "s",
                (quantile(0.5), "median"), (quantile(0.95), "95 %")),
        _series("Data wait", "Share of the time that the slowest rank waits for its next batch.",
                "percentunit", (f"max({rate(c.DATA_WAIT)})", "share")),
        _series("Waiting for peers", "Share of a sampled step that each rank waits in the all-reduce; the "
                "slow rank waits least.", "percentunit",
                (f"max by (rank) ({of_job(c.RANK_WAIT)})", "rank {{rank}}")),
        _series("Own gradient norm", "Of each rank before the all-reduce, as last sampled.", "none",
                (f"max by (rank) ({of_job(c.RANK_GRADIENT_NORM)})", "rank {{rank}}")),
        _series("Audio", "Seconds of audio trained on in a second, over all ranks.", "suffix: s/s",
                (f"sum({rate(c.AUDIO_SECONDS)})", "audio")),
        _series("Memory of the hosts", "Anonymous memory of the ranks, and what is left below the closest limit.",
                "bytes", (f"max by (node) ({of_job(c.HOST_MEMORY)})", "node {{node}}"),
                (f"max by (node) ({of_job(c.HOST_MEMORY_ROOM)})", "room on node {{node}}")),
        _series("Movement of the weights", "By module, between the two newest checkpoints; 0: bit-identical.",
                "percentunit", (f"max by (module) ({of_job(c.WEIGHTS_MOVEMENT)})", "{{module}}")),
        _series("Held-out scores", "Of the newest evaluation.", "none",
                (f"max by (name) ({of_job(c.EVALUATION)})", "{{name}}")),
        _series("Codebooks", "Perplexity of the codes in use, by level; codecs alone.", "none",
                (f"max by (codebook) ({of_job(c.CODEBOOK_PERPLEXITY)})", "{{codebook}}")),
    ]  # fmt: skip


def placed(panels: Sequence[Object]) -> list[Object]:
    """Number the panels and lay them out in rows, left to right."""
    x = y = height = 0
    for number, panel in zip(itertools.count(1), panels, strict=False):
        place = panel["gridPos"]
        if x + place["w"] > COLUMNS:
            x, y = 0, y + height
        height = place["h"]
        panel |= {"id": number, "gridPos": {"x": x, "y": y, **place}}
        x += place["w"]
    return list(panels)


def _variables() -> list[Object]:
    any_series = f'__name__=~"{catalogue.JOB_STATE.name}|{catalogue.STEPS.name}"'
    source = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
    }
    return [
        source,
        _variable("namespace", "Namespace", f"label_values({{{any_series}}}, namespace)"),
        _variable("job_name", "Job", f'label_values({{{any_series}, namespace="$namespace"}}, job_name)'),
    ]  # fmt: skip


def _variable(name: str, label: str, query: str) -> Object:
    definition = {"query": query, "refId": name}
    common = {"type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1}
    return {"name": name, "label": label, "query": definition, "definition": query, **common}


def job() -> Object:
    """The dashboard of one job."""
    return {
        "uid": "speechtrain-job",
        "title": "Speech training job",
        "tags": ["speechtrain"],
        "schemaVersion": SCHEMA,
        "editable": False,
        "graphTooltip": 1,  # one cross-hair for all panels
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables()},
        "annotations": {"list": []},
        "panels": placed(_job_panels()),
    }


def files() -> dict[Path, str]:
    """Path and text of each dashboard."""
    return {FOLDER / "job.json": json.dumps(job(), indent=2) + "\n"}


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
        sys.stderr.write(
            f"{', '.join(stale)}: differs from charts/dashboards.py; run `make dashboards`\n"
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
