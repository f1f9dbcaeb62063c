"""Real Prometheus and Alertmanager beside a test cluster, and a webhook that hears what they send.

Scraped is what the chart's monitors select, judged by the chart's rules, routed as `docs/alertmanager.yaml` says;
only addresses and times differ. For `tests/e2e` and `make accept-cluster`.
"""

import contextlib
import json
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from bed import binaries, families, system
from bed.api import wait_for
from bed.cluster import Bed, log_to_stderr
from bed.layout import cache_dir
from product.chart import CHART, MONITORED, ROOT, only
from product.installed import HOME, RELEASE
from product.scrape import scrape_configs

from speech_operator.cluster.local import free_ports

Object = dict[str, Any]


@dataclass(frozen=True)
class Pace:
    """How fast alerts may be. The defaults are the fast ones; `CHART_PACE` is what the chart and the example say."""

    scrape: str = "5s"
    evaluation: str = "1s"
    group_wait: str = "0s"
    group_interval: str = "1s"


CHART_PACE = Pace(scrape="15s", evaluation="30s", group_wait="10s", group_interval="1m")


@dataclass(frozen=True)
class Alert:
    """One alert that fired, as the webhook heard it. `at` is in seconds of `time.time`."""

    name: str
    job: str
    at: float


class Receiver:
    """A webhook of Alertmanager's."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        heard = self._heard

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                heard(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Tests are not interested."""

        return Handler

    def _heard(self, message: Object) -> None:
        now = time.time()
        for alert in message["alerts"]:
            if alert["status"] == "firing":
                labels = alert["labels"]
                self.alerts.append(Alert(labels["alertname"], labels.get("job_name", ""), now))

    def names(self, job: str) -> set[str]:
        """Alerts that fired for a job so far."""
        return {alert.name for alert in self.alerts if alert.job == job}

    def first(self, job: str, name: str) -> Alert | None:
        return next((a for a in self.alerts if (a.job, a.name) == (job, name)), None)


class Prometheus:
    """One that answers queries."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:  # 503: it starts
            error.close()
            return False

    def query(self, expression: str) -> list[Object]:
        """The result of an instant query."""
        asked = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{asked}", timeout=10) as answer:
            result: list[Object] = json.loads(answer.read())["data"]["result"]
        return result


@contextlib.contextmanager
def alerting(
    bed: Bed, folder: Path, pace: Pace = Pace()
) -> Iterator[tuple[Prometheus, Receiver]]:  # fmt: skip
    """Both run from here on, and end with the block. `folder` is theirs; what they say is in `*.log`."""
    receiver = Receiver()
    prometheus, alertmanager = (f"127.0.0.1:{port}" for port in free_ports(2))
    files = _write(bed, folder, pace, receiver.url, alertmanager)
    program = binaries.ensure(families.PROMETHEUS, cache_dir(), log_to_stderr)["prometheus"]
    commands = {
        "alertmanager": [
            system.program("prometheus-alertmanager"), f"--config.file={files['alertmanager']}",
            f"--storage.path={folder / 'alertmanager'}", f"--web.listen-address={alertmanager}",
            "--cluster.listen-address=",
        ],
        "prometheus": [
            str(program), f"--config.file={files['prometheus']}",
            f"--storage.tsdb.path={folder / 'prometheus'}", f"--web.listen-address={prometheus}",
        ],
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        stack.callback(receiver.close)
        for name, command in commands.items():
            stack.enter_context(_running(command, folder / f"{name}.log"))
        server = Prometheus(f"http://{prometheus}")
        wait_for("Prometheus", server.ready, 120.0)
        yield server, receiver


@contextlib.contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("w") as words, subprocess.Popen(command, stderr=words, stdout=words) as process:
        try:
            yield
        finally:
            process.terminate()


def _write(bed: Bed, folder: Path, pace: Pace, webhook: str, alertmanager: str) -> dict[str, Path]:
    objects = _monitors(bed, pace)
    routing = yaml.safe_load((ROOT / "docs" / "alertmanager.yaml").read_text("utf-8"))
    routing["route"] |= {"group_wait": pace.group_wait, "group_interval": pace.group_interval}
    for webhooks in (receiver["webhook_configs"] for receiver in routing["receivers"]):
        webhooks[0]["url"] = webhook
    scraping = {
        "global": {"evaluation_interval": pace.evaluation},
        "rule_files": [str(folder / "rules.yaml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": scrape_configs(objects, kubeconfig_file=str(bed.kubeconfig)),
    }
    documents = {
        "rules": only(objects, "PrometheusRule")["spec"],
        "alertmanager": routing,
        "prometheus": scraping,
    }
    paths = {name: folder / f"{name}.yaml" for name in documents}
    for name, path in paths.items():
        path.write_text(yaml.safe_dump(documents[name]), "utf-8")
    return paths


def _monitors(bed: Bed, pace: Pace) -> list[Object]:
    """Monitors and rules of the release that is installed, as the chart renders them."""
    timeout = "4s" if pace.scrape == "5s" else "10s"
    fast = {"enabled": True, "interval": pace.scrape, "scrapeTimeout": timeout}
    values = {**MONITORED, "podMonitor": fast, "serviceMonitor": fast}
    text = bed.helm(
        "template", RELEASE, str(CHART), "--namespace", HOME, "--values", "-",
        stdin=json.dumps(values),
    )  # fmt: skip
    return [document for document in yaml.safe_load_all(text) if document]
