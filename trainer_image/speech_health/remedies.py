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
    Rule.RANK_DIVERGENCE: "test the GPU memory and the network of the named node; if it comes back on another "
    "node, look for an update that differs between ranks; a slow rank: look at its node's clocks and data path",
    Rule.TELEMETRY_UNREACHABLE: "look at the master pod's network and whether its supervisor still runs",
    Rule.NOT_UPDATING: "look for parameters that the optimizer does not hold, weights kept in bf16, or a learning "
    "rate too small to move them; train longer or raise the rate",
    Rule.SCHEDULE_MISMATCH: "look for code that sets the optimizer's lr, a schedule stepped twice or never, or a "
    "checkpoint that restored another one; if the rate adapts on purpose, report no plan",
    Rule.MEMORY_GROWTH: "look for losses that are kept with their graph (use .detach() or .item()), lists that grow "
    "with every batch, and caches without a bound; or raise the memory limit",
    Rule.CODEBOOK_COLLAPSE: "start the codebooks by k-means on real latents, revive dead codes, take the moving "
    "averages of the residual, and let the commitment loss reach the encoder; lower the learning rate",
    Rule.IMPLAUSIBLE: "look for batches that are dropped in silence (except: continue), an empty loop over the "
    "data, or counters that count too much; or raise health.implausible.maxRealTimeFactor",
    Rule.GOAL_UNREACHABLE: "start from a pretrained model, collect more audio or take a smaller model; set a goal "
    "below the bound; where the held-out score falls behind, mend the objective or stop at the best checkpoint",
}
