"""The operator as a process of its own, under the rights that the rendered chart grants. Used by tests and benchmarks.

Its ServiceAccount is the chart's, so the API server's audit log tells what exactly it called.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import urllib.request
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from apibed.scene import Body
from bed.cluster import Bed

from speech_operator.settings import variable

T = TypeVar("T")
CHART = Path(__file__).resolve().parents[3] / "charts" / "speechtrain"


def rendered(bed: Bed, home: str, *namespaces: str, kueue: bool = False) -> list[Body]:
    """RBAC and account of the chart as released into `home`; of `namespaces` alone if there are some."""
    parts = [f"--show-only=templates/{name}.yaml" for name in ("rbac", "serviceaccount")]
    values = ["--set-json", f"watchNamespaces={json.dumps(namespaces)}"]
    values += ["--set", f"kueue.enabled={json.dumps(kueue)}"]
    text = bed.helm("template", home, str(CHART), "--namespace", home, *parts, *values)
    return [document for document in yaml.safe_load_all(text) if document]


def install_rights(bed: Bed, home: str, documents: Sequence[Body], folder: Path) -> Path:
    """Apply them in a new namespace; the kubeconfig of the account, with its token, in `folder`."""
    bed.api.post("/api/v1/namespaces", {"metadata": {"name": home}})
    bed.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))
    (account,) = [d["metadata"]["name"] for d in documents if d["kind"] == "ServiceAccount"]
    token = bed.kubectl("create", "token", account, "--namespace", home).strip()
    document = yaml.safe_load(bed.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": token}
    path = folder / f"kubeconfig-{home}"
    path.write_text(yaml.safe_dump(document))
    return path


def granted(documents: Sequence[Body]) -> set[tuple[str, str]]:
    """Verb and resource of what the operator's own roles allow."""
    return {
        (verb, resource)
        for document in documents
        if document["kind"] in ("Role", "ClusterRole")
        and not any("aggregate" in label for label in document["metadata"]["labels"])
        for rule in document["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def called(bed: Bed, home: str) -> list[tuple[str, str]]:
    """Verb and resource of every call of the account so far; a refused one is no use of a right."""
    found = []
    for event in bed.audit(f"system:serviceaccount:{home}:"):
        reference: dict[str, Any] = event.get("objectRef") or {}
        if "resource" not in reference:
            continue  # discovery, which everybody may
        assert event["responseStatus"]["code"] != 403, event
        kind, sub = reference["resource"], reference.get("subresource")
        found.append((event["verb"], f"{kind}/{sub}" if sub else kind))
    return found


class Process:
    """One operator as a process of its own. `echo`: print what it logs, for the report of a failing test.

    `environ`: what Python is to be started with, for the operator of an earlier build. `program`: what it is to run.
    """

    def __init__(
        self,
        kubeconfig: Path,
        name: str,
        home: str,
        *,
        echo: bool = True,
        environ: Mapping[str, str] = os.environ,
        program: Sequence[str] = ("-m", "speech_operator"),
        **settings: str,
    ) -> None:
        given = {
            "kubeconfig": str(kubeconfig), "leader_election": "true", "lease_name": home,
            "metrics_port": "0", "probes_port": "0", "pod_name": name, "pod_namespace": home,
            **settings,
        }  # fmt: skip
        kept = {k: v for k, v in environ.items() if k in ("PATH", "PYTHONPATH", "HOME")}
        self._environ = kept | {variable(field): value for field, value in given.items()}
        self._echo = echo
        self._program = program
        self.lines: list[Body] = []

    async def __aenter__(self) -> Process:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, *self._program,
            env=self._environ, stdout=asyncio.subprocess.PIPE, limit=2**20,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if self._echo:
                print(line.decode(), end="")
            self.lines.append(json.loads(line))

    def events(self, name: str) -> list[Body]:
        return [line for line in self.lines if line["event"] == name]

    async def said(self, name: str, seconds: float = 40.0) -> Body:
        async with asyncio.timeout(seconds):
            while not self.events(name):
                await asyncio.sleep(0.05)
                assert self.process.returncode is None, self.lines
        return self.events(name)[-1]

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives. Raises RuntimeError with the operator's last words when it ends meanwhile."""
        task, ended = asyncio.create_task(work), asyncio.create_task(self.process.wait())
        await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if task.done():
            return await task
        task.cancel()
        await asyncio.gather(task, self._reading, return_exceptions=True)
        raise RuntimeError(f"the operator ended with {self.process.returncode}: {self.lines[-5:]}")

    async def fetch(self, port: str, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.events('operator_started')[-1][port]}{path}"

        def get() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await asyncio.to_thread(get)

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15.0):
            return await self.process.wait()
