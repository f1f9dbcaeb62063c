"""The progress document: what the master's supervisor answers on `/progress`, and its findings.

Written by speech_telemetry, read by the operator (into status) and by the CLI.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from speech_contract.findings import Finding, RankRow, Verdict
from speech_contract.phases import Phase
from speech_contract.preflight import PreflightReport
from speech_contract.report import BadStep, Codebook, Memory, Reads, Weights
from speech_contract.rules import Rule as Rule
from speech_contract.rules import Severity as Severity
from speech_contract.values import Value, frozen


@frozen
class Account(Value):
    """What is known of an attempt: the running master answers it, and its last record keeps it."""

    _: dataclasses.KW_ONLY
    step: int | None = None  # newest
    total_steps: int | None = None
    loss: float | None = None  # the headline
    gradient_norm: float | None = None
    learning_rate: float | None = None
    audio_seconds_per_second: float | None = None
    non_finite_steps: int | None = None
    first_bad: BadStep | None = None
    rollbacks: int = 0  # of this attempt
    discarded_steps: int = 0  # trained and then left behind by roll-backs or by exit code 40
    checkpoint_seconds: float | None = None  # spent on saving, in this attempt
    resumed_from_step: int | None = None
    resume_note: str = ""  # from whose step it goes on, and which settings changed since
    last_checkpoint_step: int | None = None
    last_confirmed_step: int | None = None
    findings: list[Finding] = dataclasses.field(default_factory=list)
    preflight: PreflightReport | None = None
    reads: Reads | None = None  # None: no number came yet

    @property
    def account(self) -> dict[str, Any]:
        """These fields alone, for another record of the same attempt."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(Account)}


@frozen
class Progress(Account):
    """The answer of `/progress`. `version` = `<attempt>.<n>`; n grows with every change worth a look.

    `losses` holds last reported values per component and may hold NaN (a string in JSON).
    """

    version: str
    attempt: int
    phase: Phase = Phase.STARTING
    phase_since: float = 0.0  # epoch seconds
    done: bool = False
    running: bool = False  # every rank reported a step, or stdout showed one
    source: str = ""  # Reporter | Stdout | "" (nothing yet)
    losses: dict[str, float] = dataclasses.field(default_factory=dict)
    step_seconds: float | None = None
    data_wait_ratio: float | None = None
    eta_seconds: float | None = None
    samples_skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    updates: int = 0
    evaluation: dict[str, float] = dataclasses.field(default_factory=dict)
    device: str = ""
    verdict: Verdict = Verdict.UNKNOWN
    ranks: list[RankRow] = dataclasses.field(default_factory=list)
    updated_at: float = 0.0  # epoch seconds of the newest sample
    weights: Weights | None = None  # the newest two checkpoints, compared
    codebooks: dict[str, Codebook] = dataclasses.field(default_factory=dict)
    memory: dict[str, Memory] = dataclasses.field(default_factory=dict)  # by node rank
    # Seconds since a worker's supervisor was last heard of, by node rank: of those that should have spoken again.
    unheard: dict[str, float] = dataclasses.field(default_factory=dict)
