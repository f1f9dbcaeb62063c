"""What to do about each finding: one sentence a rule, shown in status, CLI and report."""

from __future__ import annotations

from typing import Final

from speech_contract.progress import Rule

REMEDIES: Final[dict[Rule, str]] = {
    Rule.NON_FINITE: "lower the learning rate or mend the batch that the evidence names; look for log(0), "
    "a division by zero or fp16 where bf16 or fp32 is needed",
    Rule.ZERO_LOSS: "look for a swallowed exception (except: continue), a loss that is never added up, "
    "or labels that are all masked",
    Rule.NO_GRADIENT: "look for a missing backward(), a detached loss, a frozen module, or an objective "
    "that does not reach the named modules",
    Rule.SKIPPED_SAMPLES: "mend or remove the files listed in quarantine.jsonl, or raise "
    "health.skippedSamples.maxRatio",
    Rule.CONSTANT_COMPONENT: "look for a clamp, min(), max() or free bits round the named component: beyond "
    "the bound it has no gradient",
    Rule.LOSS_SPIKE: "lower the learning rate or lengthen the warm-up; look at the data of the first high step; "
    "if the task got harder on purpose, raise health.lossSpike.factor",
    Rule.GRADIENT_SPIKE: "clip the gradient, or lower the learning rate; look at the data of the first high step",
    Rule.PREFLIGHT: "mend what the evidence names; `speechtrain preflight FILE` shows every check, on a laptop too",
    Rule.STALLED: "read the Python stacks of the named rank; raise health.stall.floorSeconds if steps are "
    "that long, or report.phase() around long pauses",
    Rule.TELEMETRY_MISSING: "call speech_telemetry.reporter from the script, or print a line such as "
    "'step 12 loss=0.5', unbuffered",
    Rule.TELEMETRY_STALE: "the rank lives but no longer reports: look for an exception around the report, "
    "or a full socket (dropped datagrams)",
    Rule.TELEMETRY_UNREACHABLE: "look at the master pod's network and whether its supervisor still runs",
}
