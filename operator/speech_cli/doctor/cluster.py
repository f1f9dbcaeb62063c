"""The checks of a cluster in their order, over one connection. Called by `commands.doctor`."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from speech_cli.cluster_client import ClusterClient
from speech_cli.cluster_place import ClusterPlace
from speech_cli.doctor import installation, monitors, rights, workloads
from speech_cli.doctor.row import Check, Mark, Row, asked, ok, skipped
from speech_cli.place import Where
from speech_cli.rendering.view import Document


def rows(where: Where) -> Iterator[Row]:
    """Every check; where there is no way to the cluster, each is named as not made."""
    name = "API server"
    answer = asked(name, lambda: [*_reached(where)])
    yield from answer
    reached = answer[0].mark is Mark.OK
    for check, rows_of in _checks(where).items():
        if reached:
            yield from asked(check, rows_of)
        else:
            yield skipped(check, "no answer from the API server")


def _reached(where: Where) -> Iterator[Row]:
    place = ClusterPlace.connect(where.access, where.namespace)
    version = place.client.get("/version").get("gitVersion", "of unknown version")
    yield ok("API server", f"{version} {place.title}")


def _checks(where: Where) -> dict[str, Check]:
    """Name → check. The connection and the jobs are asked for once, when the first check needs them."""
    place = functools.cache(lambda: ClusterPlace.connect(where.access, where.namespace))

    def client() -> ClusterClient:
        return place().client

    @functools.cache
    def jobs() -> tuple[Document, ...]:
        return tuple(place().jobs(everywhere=where.everywhere))

    def pods_of() -> str:
        return "" if where.everywhere else place().namespace

    return {
        "clock": lambda: installation.clock(client()),
        "CRD": lambda: installation.crd(client()),
        "operator": lambda: installation.operator(client()),
        "operator's rights": lambda: rights.of_operators(client()),
        "your rights": lambda: rights.of_person(client(), place().namespace),
        "monitors": lambda: monitors.rows(client()),
        "/progress": lambda: workloads.progress(jobs()),
        "GPUs": lambda: workloads.nodes(client(), jobs()),
        "storage": lambda: workloads.storage(client()),
        "images": lambda: workloads.images(client(), pods_of()),
    }
