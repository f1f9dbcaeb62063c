"""The dashboard of one job: is it well, how far is it, what does it spend its time on. Called by `monitoring`."""

from __future__ import annotations

from typing import Final

from panels import Object, dashboard, quantile, series, stat, table, variable

from speech_contract import metrics as c
from speech_contract.metrics import Metric

JOB: Final = '{namespace="$namespace", job_name="$job_name"}'
STATES: Final = {"1": ("Healthy", "green"), "0": ("Critical", "red")}


def of(metric: Metric) -> str:
    """The selector of a metric for the job that the dashboard shows."""
    return f"{metric.name}{JOB}"


def rate(metric: Metric) -> str:
    """Per second."""
    return f"rate({of(metric)}[$__rate_interval])"


def increase(metric: Metric) -> str:
    """How often in the interval between two points."""
    return f"increase({of(metric)}[$__rate_interval])"


def _state() -> Object:
    about = "The state of the job, as in its status."
    made = stat("State", about, "none", f"max by (state) ({of(c.JOB_STATE)} == 1)", "{{state}}")
    made["options"]["textMode"] = "name"
    return made


def _health() -> Object:
    about = "The verdict of the health rules. Unknown: nobody can see whether it learns."
    made = stat("Health", about, "none", f"max({of(c.JOB_HEALTHY)})")
    options = {value: {"text": text, "color": color} for value, (text, color) in STATES.items()}
    made["fieldConfig"]["defaults"]["mappings"] = [{"type": "value", "options": options}]
    return made


def _numbers() -> list[Object]:
    """What is true now."""
    left = f"(max({of(c.PLANNED_STEPS)}) - max({of(c.STEP)}))"
    findings = f"{of(c.HEALTH_FINDING)} == 1 or {of(c.JOB_HEALTH_FINDING)} == 1"
    facts = "recipe, attempt, world_size, source"
    return [
        _state(),
        _health(),
        stat("Step", "Batches taken; goes back at a roll-back.", "none", f"max({of(c.STEP)})"),
        stat("Time to the end", "At the pace of the last minutes.", "s",
             f"{left} / max({rate(c.STEPS)})"),
        stat("Attempts", "Number of the newest attempt; each after the first is a restart.", "none",
             f"max({of(c.JOB_ATTEMPT)})"),
        stat("Last step", "How long ago the newest step was reported.", "s",
             f"time() - max({of(c.LAST_STEP)})"),
        stat("Last checkpoint", "How long ago the newest checkpoint was written.", "s",
             f"time() - max({of(c.LAST_CHECKPOINT)})", none="None yet"),
        stat("Ended", "How long ago the job ended.", "s", f"time() - max({of(c.JOB_ENDED)})",
             none="Not yet"),
        table("Findings", "Health findings that are active, as the supervisor and the operator see them.",
              f"max by (rule, severity) ({findings})", none="No finding", width=12),
        table("Attempt", "How the newest attempt runs, and where its numbers come from.",
              f"max by ({facts}) ({of(c.INFO)})", none="Not seen", width=12),
    ]  # fmt: skip


def _learning() -> list[Object]:
    """Whether it learns."""
    behind = f"max({of(c.STEP)}) - (max({of(c.CHECKPOINT_STEP)}) or max({of(c.STEP)}) * 0)"
    return [
        series("Loss", "By component. A gap is a NaN: see the non-finite steps.", "none",
               (f"max by (name) ({of(c.LOSS)})", "{{name}}")),
        series("Gradient norm", "Over all ranks, before clipping.", "none",
               (f"max({of(c.GRADIENT_NORM)})", "norm")),
        series("Learning rate", "Of the last update.", "sci",
               (f"max({of(c.LEARNING_RATE)})", "rate")),
        series("Non-finite steps", "NaN or infinite losses and gradients, losses of 0, and roll-backs.", "short",
               (f"sum by (kind) ({increase(c.NON_FINITE)})", "{{kind}}"),
               (f"sum({increase(c.ZERO_LOSS)})", "zero loss"),
               (f"sum({increase(c.ROLLBACKS)})", "roll-backs")),
        series("Held-out scores", "Of the newest evaluation.", "none",
               (f"max by (name) ({of(c.EVALUATION)})", "{{name}}")),
        series("Movement of the weights", "By module, between the two newest checkpoints; 0: bit-identical.",
               "percentunit", (f"max by (module) ({of(c.WEIGHTS_MOVEMENT)})", "{{module}}"),
               (f"max by (module) ({of(c.WEIGHTS_UNCHANGED)}) > 0", "{{module}}: unchanged weights")),
        series("Skipped samples", "Samples that the loader had to replace, by reason.", "cps",
               (f"sum by (reason) ({rate(c.SKIPPED)}) > 0", "{{reason}}")),
        series("Actions", "What was done about findings; Would… in mode Notify.", "short",
               (f"sum by (action) ({increase(c.HEALTH_ACTIONS)}) > 0", "{{action}}")),
        series("Steps since the checkpoint", "What would be lost now, beside the interval of checkpoints.", "none",
               (behind, "steps"), (f"max({of(c.CHECKPOINT_INTERVAL)})", "interval")),
        series("Codebooks", "Perplexity of the codes in use, by level; codecs alone.", "none",
               (f"max by (codebook) ({of(c.CODEBOOK_PERPLEXITY)})", "{{codebook}}")),
        series("Dead codes", "Share of each codebook that is not used; codecs alone.", "percentunit",
               (f"max by (codebook) ({of(c.CODEBOOK_DEAD)})", "{{codebook}}")),
    ]  # fmt: skip


def _machine() -> list[Object]:
    """What the time and the memory go to."""
    return [
        series("Step time", "Of the steps that were reported.", "s",
               *((quantile(share, c.STEP_DURATION, JOB), name) for share, name in ((0.5, "median"), (0.95, "95 %")))),
        series("Steps and updates", "In a second; updates fall behind where steps are gated off or accumulated.", "cps",
               (f"max({rate(c.STEPS)})", "steps"), (f"max({rate(c.UPDATES)})", "updates")),
        series("Goodput", "Share of the time with devices, since the job was made, that went into steps which count.",
               "percentunit", (f"max({of(c.JOB_GOODPUT)})", "share")),
        series("Data wait", "Share of the time that the slowest rank waits for its next batch.",
               "percentunit", (f"max({rate(c.DATA_WAIT)})", "share")),
        series("Waiting for peers", "Share of a sampled step that each rank waits in the all-reduce; the "
               "slow rank waits least.", "percentunit",
               (f"max by (rank) ({of(c.RANK_WAIT)})", "rank {{rank}}")),
        series("Own gradient norm", "Of each rank before the all-reduce, as last sampled.", "none",
               (f"max by (rank) ({of(c.RANK_GRADIENT_NORM)})", "rank {{rank}}")),
        series("Steps without a comparison", "Since all ranks were last seen to have the same weights.", "none",
               (f"max({of(c.STEP)}) - max({of(c.RANKS_AGREED)})", "steps")),
        series("Audio", "Seconds of audio trained on in a second, over all ranks.", "suffix: s/s",
               (f"sum({rate(c.AUDIO_SECONDS)})", "audio")),
        series("Samples and tokens", "Trained on in a second, over all ranks.", "cps",
               (f"sum({rate(c.SAMPLES)})", "samples"), (f"sum({rate(c.TOKENS)}) > 0", "tokens")),
        series("Memory of the hosts", "Anonymous memory of the ranks, and what is left below the closest limit.",
               "bytes", (f"max by (node) ({of(c.HOST_MEMORY)})", "node {{node}}"),
               (f"max by (node) ({of(c.HOST_MEMORY_ROOM)})", "room on node {{node}}")),
    ]  # fmt: skip


def build() -> Object:
    """The dashboard."""
    known = f'__name__=~"{c.JOB_STATE.name}|{c.STEPS.name}"'
    variables = [
        variable("namespace", "Namespace", f"label_values({{{known}}}, namespace)"),
        variable("job_name", "Job", f'label_values({{{known}, namespace="$namespace"}}, job_name)'),
    ]
    return dashboard("job", "Speech training job", variables, [*_numbers(), *_learning(), *_machine()])  # fmt: skip
