"""A real Prometheus that holds the hour of `scraped_jobs`, to be asked. For test_queries.py and docs/pictures.py."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import scraped_jobs
from bed import binaries, families
from bed.cluster import log_to_stderr
from bed.layout import cache_dir

from speech_operator.cluster.local import free_ports

Object = dict[str, Any]
Ask = Callable[..., list[Object]]


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Ask]:
    """While the block lasts: `ask(query)` over the whole hour, a point a minute; `ask(query, instant=True)` at its end.

    `folder` is Prometheus' own. Raises RuntimeError with the words of promtool, or of a Prometheus that does not start.
    """
    programs = binaries.ensure(families.PROMETHEUS, cache_dir(), log_to_stderr)
    (folder / "scraped.txt").write_text(scraped_jobs.text(), "utf-8")
    (folder / "config.yaml").write_text("{}")
    made = [programs["promtool"], "tsdb", "create-blocks-from", "openmetrics"]
    command = [*made, folder / "scraped.txt", folder / "data"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    address = f"127.0.0.1:{free_ports(1)[0]}"
    command = [
        programs["prometheus"], f"--config.file={folder / 'config.yaml'}", f"--web.listen-address={address}",
        f"--storage.tsdb.path={folder / 'data'}", "--storage.tsdb.retention.time=100y",
    ]  # fmt: skip
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            _wait_until_ready(f"http://{address}/-/ready", folder / "log")
            yield lambda query, **over: _ask(f"http://{address}", query, **over)
        finally:
            process.terminate()


def filled(query: str, job: str) -> str:
    """A query of a dashboard as Grafana sends it."""
    values = {"$__rate_interval": "4m", "$namespace": "speech", "$team": scraped_jobs.TEAM}
    values["$job_name"] = job
    for name, value in values.items():
        query = query.replace(name, value)
    return query


def _wait_until_ready(url: str, log: Path) -> None:
    deadline = time.monotonic() + 120.0
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise RuntimeError(log.read_text("utf-8")) from None
            time.sleep(0.05)
        else:
            return


def _ask(server: str, query: str, *, instant: bool = False) -> list[Object]:
    times = {"time": scraped_jobs.END} if instant else {
        "start": scraped_jobs.START, "end": scraped_jobs.END, "step": scraped_jobs.EVERY,
    }  # fmt: skip
    asked = urllib.parse.urlencode({"query": query, **times})
    path = "query" if instant else "query_range"
    with urllib.request.urlopen(f"{server}/api/v1/{path}?{asked}", timeout=30) as answer:
        result: list[Object] = json.loads(answer.read())["data"]["result"]
    return result
