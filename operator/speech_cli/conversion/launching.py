"""How the command of a PyTorchJob runs under the supervisor: launcher, copies, ranks per node. Called by `job`.

A PyTorchJob starts one process a pod; torchrun and its kin start the ranks. So does the converted job: the
supervisor starts what the container started, unless one process *is* the only rank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from speech_cli.conversion.notes import Notes
from speech_contract.recipes import Copies, Launcher

STARTERS: Final = re.compile(
    r"(^|[\s/;&|\"'])(torchrun|deepspeed|accelerate\s+launch|torch\.distributed\.(run|launch))(?![\w.-])"
)
RENDEZVOUS: Final = re.compile(r"PET_RDZV_\w+")
NPROC: Final = "spec.nprocPerNode"


def recipe(trainer: Mapping[str, Any], ranks: int | None, notes: Notes) -> dict[str, Any]:
    """`spec.recipe`. `ranks`: nprocPerNode of the converted job, None when the GPUs decide."""
    command = [*trainer.get("command", ()), *trainer.get("args", ())]
    if not trainer.get("command"):
        notes.added(
            "spec.recipe.custom.launcher",
            "None: without a command nothing watches from within the pod; write the image's entrypoint as "
            "trainer.command and remove this line",
        )
        return {"custom": {"launcher": Launcher.NONE.value}}
    if found := RENDEZVOUS.search(" ".join(map(str, command))):
        notes.refused(
            "spec.trainer.command", found.group(), "is not set: the operator owns membership",
            "use $(MASTER_ADDR):$(MASTER_PORT) with the static rendezvous",
        )  # fmt: skip
    notes.added(
        "spec.recipe.custom",
        "the launcher is copied into the pod and watches the command; the image needs python3 ≥ 3.10",
    )
    if ranks == 1 and not starts_ranks(command):
        return {"custom": {}}
    notes.added("spec.recipe.custom.copies", f"One: {_who(command)}")
    return {"custom": {"copies": Copies.ONE.value}}


def ranks_per_node(value: Any, command: list[Any], notes: Notes, field: str = NPROC) -> int | None:
    """`spec.nprocPerNode` of the converted job; None leaves it to the GPUs of a node."""
    if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
        notes.kept(field)
        return int(value)
    said = "unset" if value is None else repr(value)
    if not starts_ranks(command):
        notes.changed(
            field,
            f"{said} → 1: the command starts one process a node, as before; for a process on each GPU "
            f"write their number here and remove recipe.custom.copies",
        )
        return 1
    notes.changed(field, f"{said}: the number of GPUs in resourcesPerNode.limits, else 1")
    return None


def starts_ranks(command: list[Any]) -> bool:
    """Whether the command is a launcher that starts the ranks of its node itself."""
    return STARTERS.search(" ".join(map(str, command))) is not None


def _who(command: list[Any]) -> str:
    if starts_ranks(command):
        return "the command starts the ranks of its node itself"
    return "one process a node, as before; PerRank starts nprocPerNode of them"
