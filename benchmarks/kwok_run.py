"""The frame of a long run before KWOK's nodes: cluster, table, file. Used by accept_scale.py and accept_soak.py."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import record
from apibed.scene import install
from bed import system
from bed.cluster import Bed, log_to_stderr
from bed.system import Tier
from operator_load import fake_nodes
from record import Row

POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
POLICY = {
    "metadata": {"name": "kwok-deletes-what-ends"},
    "spec": {
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["DELETE"],
                    "resources": ["pods"],
                }
            ]
        },
        "matchConditions": [
            {"name": "kwok", "expression": "request.userInfo.username == 'bed-kwok'"}
        ],
        "validations": [
            {
                "expression": "has(oldObject.metadata.deletionTimestamp)",
                "message": "this is not the pod that was to be deleted",
            }
        ],
    },
}
BINDING = {
    "metadata": {"name": "kwok-deletes-what-ends"},
    "spec": {"policyName": "kwok-deletes-what-ends", "validationActions": ["Deny"]},
}

Figures = dict[str, Any]
Run = Callable[[Bed, Path, argparse.Namespace], Coroutine[Any, Any, Figures]]


def main(
    name: str, parser: argparse.ArgumentParser, run: Run, table: Callable[[Figures], Sequence[Row]]
) -> int:
    """Run, print, write; returns the exit code. A smaller run than the options' defaults is no result to keep."""
    options = parser.parse_args()
    if reason := system.obstacle(Tier.CONTROL_PLANE):
        log_to_stderr(reason)
        return 1
    before = record.machine()
    with tempfile.TemporaryDirectory() as folder, Bed(name, kwok=True) as bed:
        install(bed)
        fake_nodes(bed)
        only_what_ends(bed)
        figures = asyncio.run(run(bed, Path(folder), options))
    rows = table(figures)
    record.show(rows)
    for problem in figures.get("problems", ())[:20]:
        log_to_stderr(problem)
    full = options == parser.parse_args([])
    return 0 if record.write(name, before, figures, rows, kept=full) else 1


def only_what_ends(bed: Bed) -> None:
    """A kubelet deletes a pod by its uid. KWOK, when it is slow, takes the pod that has the name by then.

    That is one of the next attempt, whose gang restarts again, and so a thousand gangs for half an hour.
    """
    bed.api.post(POLICIES, POLICY)
    bed.api.post(BINDINGS, BINDING)
