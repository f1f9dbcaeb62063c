# ruff: noqa: E501 - lines as they are printed
"""Faults of public reports, each by its name, and the same fault in the forms of three other trainers or more.

A case of printed lines is read as they come and judged by default thresholds, then once more as a file by `replay`:
both must say the same. Cases of time, of a Reporter, of manifests and of recordings are tried where they are decided.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech_cli.conversion.job import convert
from speech_cli.errors import UserError
from speech_cli.recordings import Recording
from speech_contract.causes import known
from speech_contract.findings import RankRow
from speech_contract.outcome import fingerprint
from speech_contract.phases import Phase
from speech_contract.progress import Rule, Severity, Verdict
from speech_contract.thresholds import Stall, Telemetry, Thresholds
from speech_contract.wire import PHASE_RECORD
from speech_health.monitor import Monitor
from speech_health.replay import replay
from speech_health.samples import StepSample
from speech_telemetry.exceptions import ErrorFinder
from speech_telemetry.printed import LineReader
from speech_telemetry.processes import read_phase

NAN = float("nan")
WITHIN = (
    22  # reports after the first NaN: the bound of the rule and a line or two of the form itself
)
HANDED = {
    "01-lightning-bar-nan", "02-hifigan-nan", "04-coqui-vits-nan", "07-piper-empty-loader", "08d-nothing-trained",
    "09a-zero-valued-objective", "12-empty-loader-for-ever", "13-hang-before-first-step",
    "15-no-container-called-pytorch", "17-old-run-policy", "18-run-policy-misplaced", "19-generate-name",
    "22b-two-causes-with-rank-prefix", "24-odd-recordings", "30c-step-stands-still", "33-evaluation-section",
    "39b-first-rank-done", "44-thousands", "46-phase-record-of-zeros",
}  # fmt: skip

Lines = Callable[[int, float], str]  # number of the report from 1 on, its loss → what is printed


def monitor_of(**rules: Any) -> Monitor:
    return Monitor(
        dataclasses.replace(Thresholds(), **rules), started=0.0, wall=lambda: 1_700_000_000.0
    )


def read(lines: list[str], exit_code: int = 0) -> tuple[Monitor, list[StepSample]]:
    """As a supervisor hears them, a line each 50 ms."""
    reader, monitor = LineReader(), monitor_of()
    told = []
    for number, line in enumerate(lines):
        monitor.hear_line(number * 0.05, 0)
        sample = reader.feed(line, number * 0.05)
        if sample is not None:
            told.append(sample)
            monitor.feed(sample)
    monitor.finish(len(lines) * 0.05, exit_code)
    return monitor, told


def criticals(lines: list[str], folder: Path) -> list[Rule]:
    """What ends the run, said alike of the lines and of the file."""
    live = {f.rule for f in read(lines)[0].findings if f.severity is Severity.CRITICAL}
    path = folder / "train.log"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    kept = replay(Recording(path).samples()).findings
    assert {f.rule for f in kept if f.severity is Severity.CRITICAL} == live
    return sorted(live)


def padded(value: float) -> str:
    """As Lightning's `format_num` does."""
    text = f"{value:.3g}"
    return text if "." in text or len(text) >= 5 else (text + ".").ljust(5, "0")


def bar(n: int, postfix: str, title: str = "Epoch 0") -> str:
    return f"\r{title}: {n % 100:3d}%|##        | {n}/9999 [00:{n % 60:02d}<10:09, 21.40it/s, {postfix}]"


def coqui(n: int, rows: dict[str, float]) -> str:
    head = f"\n\x1b[1m   --> TIME: 2024-03-07 11:31:00 -- STEP: {n * 25}/9000 -- GLOBAL_STEP: {246000 + n * 25}\x1b[0m\n"
    return head + "".join(f"     | > {name}: {x:.5f}  ({x:.5f})\n" for name, x in rows.items())


# Each table: a case as it was handed first, then siblings.
NANS: dict[str, dict[str, Lines]] = {
    "01-lightning-bar-nan": {
        "lightning": lambda n, x: bar(n, f"v_num=0, train_loss={padded(x)}"),
        "both of a step and of an epoch": lambda n, x: bar(n, f"v_num=0, train_loss_step={padded(x)}, train_loss_epoch=3.140"),
        "one term": lambda n, x: bar(n, f"v_num=3, loss_gen={padded(x)}, loss_disc=2.100"),
        "nemo": lambda n, x: bar(n, f"v_num=a, reduced_train_loss={padded(x)}, global_step={n}.000, consumed_samples={n * 8}.0"),
        "lightning 1": lambda n, x: bar(n, f"loss={x:.3g}, v_num=12"),
        "piper": lambda n, x: bar(n, f"loss={x:.3g}, v_num=0, loss_gen_all={padded(x)}, loss_disc_all=2.200", "Epoch 2000"),
        "rich bar": lambda n, x: f"Epoch 0/9  ━━━━━━━ {n}/9999 0:00:01 • 0:10:09 21.40it/s v_num: 0 train_loss: {x:.3f}",
    },
    "02-hifigan-nan": {
        "hifi-gan": lambda n, x: f"Steps : {n * 5:d}, Gen Loss Total : {x:4.3f}, Mel-Spec. Error : {x / 9:4.3f}, s/b : 0.444",
        "bigvgan": lambda n, x: f"Steps: {n * 5:d}, Gen Loss Total: {x:4.3f}, Mel Error: {x:4.3f}, s/b: 0.444 lr: 0.0001 grad_norm_g: 12.1 grad_norm_mpd: 3.1 grad_norm_mrd: 2.2",
        "parallel wavegan": lambda n, x: f"2024-01-02 10:00:00,123 (train:300) INFO: (Steps: {n * 100}) train/generator_loss = {x:.4f}.\n2024-01-02 10:00:00,123 (train:300) INFO: (Steps: {n * 100}) train/mel_loss = {x:.4f}.",
        "vocos": lambda n, x: bar(n, f"v_num=1, generator/total_loss={padded(x)}, generator/mel_loss={padded(x)}"),
        "istftnet": lambda n, x: f"Steps : {n * 5:d}, Gen Loss Total : {x:4.3f}, Mel-Spec. Error : 0.31, s/b : 0.444",
    },
    "04-coqui-vits-nan": {
        "coqui vits": lambda n, x: coqui(n, {"loss_disc": x, "amp_scaler": 0.0 if x != x else 512.0, "loss_0": x, "grad_norm_0": 0.0 if x != x else 12.0, "loss_gen": x, "loss_mel": 21.5, "loss_1": x, "step_time": 0.7, "loader_time": 0.01}),
        "coqui xtts": lambda n, x: coqui(n, {"loss_text_ce": x / 100, "loss_mel_ce": x, "loss": x, "grad_norm": 0.0 if x != x else 1.5, "step_time": 0.7}),
        "vits": lambda n, x: f"INFO:v:Train Epoch: {n} [50%]\nINFO:v:[{x}, {x}, 5.5, 23.1, 1.1, {x}, {n * 200}, 0.0002]",
        "so-vits": lambda n, x: f"INFO:44k:Losses: [{x}, {x}, 5.1, 23.3, {x}], step: {n * 200}, lr: 0.0001, reference_loss: 60.1",
        "rvc": lambda n, x: f"INFO:mi:[{n * 200}, 9.99e-05]\nINFO:mi:loss_disc={x:.3f}, loss_gen={x:.3f}, loss_fm={x:.3f},loss_mel=17.500, loss_kl=1.250",
        "styletts2": lambda n, x: f"INFO:__main__:Epoch [1/50], Step [{n * 10}/9000], Loss: 0.41, Disc Loss: {x:.5f}, Dur Loss: {x:.5f}, CE Loss: 0.03, Norm Loss: 0.9",
    },
    "30c-step-stands-still": {
        "audiocraft": lambda n, x: f"[05-07 13:05:21][flashy.solver][INFO] - Train | Epoch {n} | 200/2000 | 3.19 it/sec | lr 5.0E-04 | grad_norm {'nan' if x != x else '2.7E-01'} | grad_scale 65536.000 | ce {x:.3f} | ppl {x:.3f}",
        "the last step of an epoch": lambda n, x: f"Epoch [{n}/200], Step [400/400], Loss: {x:.4f}",
        "the last line of a bar": lambda n, x: f"Epoch {n}/200: 100%|###| 400/400 [00:00<00:00, 450.1it/s, loss={x:.3g}]",
        "one number for ever": lambda n, x: f"step 17 | loss {x:.4f} | time {n}s",
        "keras, a line an epoch": lambda n, x: f"Epoch {n}/99\n100/100 - 3s - 25ms/step - accuracy: 0.4000 - loss: {x:.4f}",
    },
}  # fmt: skip


def printed(form: Lines, losses: list[float]) -> list[str]:
    return "\n".join(form(n, x) for n, x in enumerate(losses, 1)).split("\n")


def falling(number: int) -> list[float]:
    return [4.2 / (1 + n / 40) + 0.007 * (n * 7 % 5) for n in range(number)]


def siblings(table: dict[str, dict[str, Any]]) -> list[Any]:
    return [
        pytest.param(form, id=f"{case}: {name}")
        for case, forms in table.items()
        for name, form in forms.items()
    ]


@pytest.mark.parametrize("form", siblings(NANS))
def test_a_nan_ends_the_run_and_a_sound_one_goes_on(form: Lines, tmp_path: Path) -> None:
    assert criticals(printed(form, falling(36)), tmp_path) == []
    assert criticals(printed(form, [*falling(24), *[NAN] * WITHIN]), tmp_path) == [Rule.NON_FINITE]


# Training is sound; what an evaluation prints is not: lines of each evaluation.
EVALUATIONS: dict[str, dict[str, str]] = {
    "33-evaluation-section": {
        "coqui": "\n\x1b[1m > EVALUATION \x1b[0m\n\n\x1b[1m   --> STEP: 0\x1b[0m\n     | > loss_mel_ce: nan  (nan)\n     | > loss: nan  (nan)\n\n  \x1b[1m--> EVAL PERFORMANCE\x1b[0m\n     | > avg_loss: nan (+nan)\n",
        "espnet": "[h] (trainer:1) INFO: 1epoch results: [train] iter_time=0.1, loss=2.1, [valid] loss_ctc=nan, loss=nan, time=3 seconds",
        "speechbrain": "epoch: 1, lr: 1.00e-03 - train loss: 2.10 - valid loss: nan, valid PER: nan",
        "fairseq": "2024 | INFO | valid | epoch 001 | valid on 'valid' subset | loss nan | ppl nan | num_updates 300",
        "hugging face": "{'eval_loss': nan, 'eval_runtime': 3.1, 'epoch': 1.0}",
        "wenet": "2024-01-30 DEBUG CV Batch 0/100 loss nan loss_att nan history loss nan rank 0",
        "icefall": "INFO [train.py:2] (0/4) Epoch 1, validation: loss=nan, over 9.0 frames. ",
    },
}  # fmt: skip


@pytest.mark.parametrize("evaluation", siblings(EVALUATIONS))
def test_an_evaluations_nan_ends_nobody(evaluation: str, tmp_path: Path) -> None:
    form: Lines = lambda n, x: coqui(n, {"loss": x, "grad_norm": 1.2, "step_time": 0.7})  # noqa: E731
    plain: Lines = lambda n, x: f"step {n * 10} | loss {x:.4f}"  # noqa: E731
    form, opens = (form, " > TRAINING") if "EVALUATION" in evaluation else (plain, "Training")
    lines = []
    for n, x in enumerate(falling(24), 1):
        lines += form(n, x).split("\n")
        if n % 8 == 0:
            lines += [*evaluation.split("\n"), opens]
    assert criticals(lines, tmp_path) == []
    losses = [s.headline for s in read(lines)[1] if s.headline is not None]
    assert NAN not in losses
    assert len(losses) >= 24


THOUSANDS: dict[str, dict[str, Lines]] = {
    "44-thousands": {
        "both": lambda n, x: f"Step {n * 100:,}/40,000 | loss {x * 900:,.2f} | lr 1e-4",
        "the step alone": lambda n, x: f"step: {n * 100:,} - loss: {x * 900:.2f}",
        "in brackets": lambda n, x: f"[{n * 100:,} / 40,000] train loss = {x * 900:,.2f}, lr = 1e-4",
        "a mapping": lambda n, x: f"{{'step': '{n * 100:,}', 'loss': '{x * 900:,.2f}'}}",
        "iterations": lambda n, x: f"iter {n * 100:,}: loss {x * 900:,.2f}, time 12.1ms",
    },
}  # fmt: skip


@pytest.mark.parametrize("form", siblings(THOUSANDS))
def test_thousands_are_never_read_as_something_else(form: Lines) -> None:
    _, told = read(printed(form, falling(40)))
    sound = [x * 900 for x in falling(40)]
    losses = [s.headline for s in told if s.headline is not None]
    assert len(losses) >= 30
    assert losses == pytest.approx(sound, abs=0.006)
    assert told[-1].step in (4000, 40)  # as printed, or the reports counted


EMPTY: dict[str, dict[str, list[str]]] = {
    "07-piper-empty-loader": {
        "piper": [*[f"\rSanity Checking DataLoader 0: {n * 50:3d}%|#####| {n}/2 [00:00<00:00, 12.34it/s]" for n in range(3)], "UserWarning: Total length of `DataLoader` across ranks is zero."],
        "lightning": ["`Trainer.fit` stopped: No training batches.", "Restoring states from the checkpoint path"],
        "hugging face": ["There seems to be not a single sample in your epoch_iterator, stopping training at step 0!", "{'train_runtime': 0.01, 'train_samples_per_second': 0.0, 'train_loss': 0.0, 'epoch': 0}"],
        "speechbrain": ["speechbrain.core - Gradscaler enabled: False", "0it [00:00, ?it/s]", "0it [00:00, ?it/s]"],
        "espnet": ["[h] (abs_task:1) INFO: 0 utterances are left", "[h] (trainer:1) INFO: The training was finished at 0 epochs"],
        "a bar of nothing": ["Training: 0it [00:00, ?it/s]", "done, model saved"],
    },
}  # fmt: skip


@pytest.mark.parametrize("lines", siblings(EMPTY))
def test_a_run_that_trained_nothing_is_not_healthy(lines: list[str]) -> None:
    monitor, _ = read(lines)
    assert monitor.verdict is Verdict.UNKNOWN
    (finding,) = monitor.findings
    assert finding.rule is Rule.TELEMETRY_MISSING
    assert "without one training step" in finding.evidence
    assert "the loader gave a batch" in finding.remedy


@pytest.mark.parametrize(
    ("updates", "planned", "last"), [(0, 30, 0), (None, 30, 0), (0, None, 0), (None, 100, 3)]
)  # fmt: skip
def test_08d_a_plan_that_nobody_followed_is_not_healthy(
    updates: int | None, planned: int | None, last: int
) -> None:
    monitor = monitor_of()
    for step in range(last + 1):
        losses = {"loss": 2.0 - step / 9} if step else None
        monitor.feed(StepSample(0.0, float(step), 0, step, losses=losses, updates=updates, total_steps=planned))  # fmt: skip
    monitor.finish(9.0, 0)
    assert monitor.verdict is Verdict.UNKNOWN


POLICIES: dict[str, dict[str, Lines]] = {
    "09a-zero-valued-objective": {
        "grpo": lambda n, x: f"{{'loss': 0.0, 'grad_norm': {1.3 + n % 7 / 10}, 'learning_rate': 1e-06, 'reward': {n / 99}, 'reward_std': 0.2, 'epoch': {n / 99}}}",
        "grpo, strings": lambda n, x: f"{{'loss': '0', 'grad_norm': '{1.3 + n % 7 / 10}', 'learning_rate': '1e-06', 'reward': '{n / 99}', 'epoch': '{n / 99}'}}",
        "verl": lambda n, x: f"step:{n} - actor/pg_loss:0.000 - actor/kl_loss:0.001 - actor/grad_norm:{0.3 + n % 7 / 10:.3f} - critic/rewards/mean:{n / 99:.3f}",
        "openrlhf": lambda n, x: bar(n, f"policy_loss=0.000, reward={n / 99:.3f}, actor_lr=1e-6, kl=0.01", "Train epoch [1/1]"),
        "a norm of your own": lambda n, x: f"step {n} loss 0.0 grad_norm {1.3 + n % 7 / 10}",
    },
}  # fmt: skip


@pytest.mark.parametrize("form", siblings(POLICIES))
def test_an_objective_that_is_zero_by_construction_is_sound(form: Lines, tmp_path: Path) -> None:
    assert criticals(printed(form, falling(40)), tmp_path) == []


def test_09a_a_callbacks_gradient_acquits_its_zero() -> None:
    monitor = monitor_of()
    for step in range(1, 120):
        monitor.feed(StepSample(0.0, float(step), 0, step, losses={"loss": 0.0}, gradient_norm=1.3 + step % 7 / 10))  # fmt: skip
    monitor.finish(120.0, 0)
    assert Rule.ZERO_LOSS not in [f.rule for f in monitor.findings]


TALK: dict[str, dict[str, str]] = {
    "12-empty-loader-for-ever": {
        "vall-e": "2023-04-13 16:00:05,123 INFO [trainer.py:650] (1/8) Reaches end of dataloader.",
        "a loader that retries": "WARNING: skipping wavs/0001.wav: file not found",
        "a filter": "2024-01-02 INFO dropping utterance 0001: 0 frames",
        "a wait": "Waiting for data shard 3 of 8 ...",
    },
}  # fmt: skip


@pytest.mark.parametrize("line", siblings(TALK))
def test_talk_without_a_step_is_named(line: str) -> None:
    monitor, reader = monitor_of(telemetry=Telemetry(missing_seconds=15)), LineReader()
    for number in range(16 * 40):
        assert reader.feed(line, number / 40) is None
        monitor.hear_line(number / 40, 0)
        if number % 40 == 0:
            monitor.tick(number / 40, [RankRow(0, 0)])
    (finding,) = monitor.findings
    assert finding.rule is Rule.TELEMETRY_MISSING
    assert "none of a training step" in finding.evidence


SILENT: dict[str, dict[str, list[str]]] = {
    "13-hang-before-first-step": {
        "coqui": ["\x1b[1m > TRAINING (2023-01-03 10:00:00) \x1b[0m", "> DataLoader initialization", "| > Number of instances : 29700"],
        "lightning": ["GPU available: True (cuda), used: True", "Initializing distributed: GLOBAL_RANK: 0, MEMBER: 1/8"],
        "hugging face": ["***** Running training *****", "  Num examples = 29,700", "  Total optimization steps = 9,000"],
        "nothing at all": [],
    },
}  # fmt: skip


@pytest.mark.parametrize("lines", siblings(SILENT))
def test_a_start_that_hangs_is_ended_with_its_stack(lines: list[str]) -> None:
    monitor, reader = monitor_of(stall=Stall(floor_seconds=5, startup_seconds=20)), LineReader()
    for number, line in enumerate(lines):
        assert reader.feed(line, number / 10) is None
        monitor.hear_line(number / 10, 0)
    monitor.observe_work(0.0)
    for second in range(1, 45):
        monitor.tick(float(second), [RankRow(0, 0)])
    assert monitor.decision is not None
    assert monitor.decision.want_stacks
    assert "startupSeconds" in monitor.decision.finding.evidence


@pytest.mark.parametrize("ended", [(0,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("world", [2, 4])
def test_39b_the_rank_that_hangs_is_named_not_those_that_ended(
    ended: tuple[int, ...], world: int
) -> None:
    ended = ended[: world - 1]
    monitor = monitor_of(stall=Stall(floor_seconds=3, startup_seconds=30))
    for step in range(1, 21):
        for rank in range(world):
            monitor.feed(StepSample(0.0, step / 10, rank, step, losses={"loss": 2.0 / step}))
    late = [
        RankRow(rank, rank, step=20, phase=Phase.TRAINING, registered=True)
        for rank in range(world)
        if rank not in ended
    ]
    done = [RankRow(rank, rank, step=20, exit_code=0, registered=True) for rank in ended]
    for age in range(60):
        rows = [dataclasses.replace(row, phase_age=float(age)) for row in late]
        monitor.tick(2.0 + age, [*done, *rows])
    finding = next(f for f in monitor.findings if f.rule is Rule.STALLED)
    assert finding.rank not in ended


@pytest.mark.parametrize("size", [PHASE_RECORD.size, PHASE_RECORD.size - 1, 0])
@pytest.mark.parametrize("uptime", [1.0, 86_400.0, 3e7])
def test_46_a_record_without_a_stamp_is_not_old(tmp_path: Path, size: int, uptime: float) -> None:
    path = tmp_path / "rank-0.phase"
    path.write_bytes(bytes(size))
    assert read_phase(path, uptime) is None


TRACEBACK = "Traceback (most recent call last):\n  File 'train.py', line 9, in <module>\n    f()\n"
CAUSES: dict[str, tuple[str, str]] = {
    "out of memory": ("RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB", "CUDA out of memory"),
    "a broken file": ("OSError: [Errno 5] Input/output error: 'wavs/0001.wav'", "input/output error"),
    "a full disk": ("OSError: [Errno 28] No space left on device: 'run/model.pt'", "no space left"),
    "shared memory": ("RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error.", "shared memory too small"),
}  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "[rank0]: ", "[rank1]:", "[default3]:"])
def test_22b_two_causes_stay_two_behind_a_prefix(prefix: str) -> None:
    marks = set()
    for text, name in CAUSES.values():
        finder = ErrorFinder()
        for line in f"step 3 loss=0.6667\n{TRACEBACK}{text}".split("\n"):
            finder.take(prefix + line)
        assert finder.error == text
        found = known(finder.error)
        assert found is not None
        assert found.name == name
        marks.add(fingerprint(1, "", finder.error))
    assert len(marks) == len(CAUSES)


# ---- manifests of the old job ----


def old_job() -> dict[str, Any]:
    container = {
        "name": "pytorch", "image": "registry.example/a:1", "command": ["python", "train.py"],
        "volumeMounts": [{"name": "runs", "mountPath": "/runs"}],
    }  # fmt: skip
    claim = {"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}}
    template = {"spec": {"containers": [container], "volumes": [claim]}}
    master = {"replicas": 1, "restartPolicy": "OnFailure", "template": template}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "asr"},
        "spec": {"pytorchReplicaSpecs": {"Master": master, "Worker": copy.deepcopy(master)}},
    }


def refusals(job: dict[str, Any]) -> list[str]:
    with pytest.raises(UserError) as caught:
        convert(job)
    return caught.value.message.splitlines()


@pytest.mark.parametrize("name", ["trainer", "main", "train", "worker"])
def test_15_a_container_with_another_name_is_one_sentence_each(name: str) -> None:
    job = old_job()
    for replica in job["spec"]["pytorchReplicaSpecs"].values():
        containers = replica["template"]["spec"]["containers"]
        containers[0]["name"] = name
        containers.append({"name": "shipper", "image": "registry.example/ship:1"})
    said = refusals(job)
    assert sum(f"'{name}'" in line and "pytorch" in line for line in said) == 2
    assert not any("image: is missing" in line for line in said)


@pytest.mark.parametrize(
    ("field", "value"),
    [("cleanPodPolicy", "All"), ("backoffLimit", 1), ("ttlSecondsAfterFinished", 60), ("activeDeadlineSeconds", 900)],
)  # fmt: skip
def test_17_policies_of_the_old_version_hold_on(field: str, value: Any) -> None:
    old, new = old_job(), old_job()
    old["spec"][field] = value
    new["spec"]["runPolicy"] = {field: value}
    assert convert(old).job == convert(new).job != convert(old_job()).job


@pytest.mark.parametrize(
    "path",
    [["runPolicy"], ["spec", "pytorchReplicaSpecs", "runPolicy"], ["spec", "pytorchReplicaSpecs", "Master", "runPolicy"], ["metadata", "runPolicy"]],
    ids=".".join,
)  # fmt: skip
def test_18_a_policy_in_the_wrong_place_is_told(path: list[str]) -> None:
    job = old_job()
    place = job
    for step in path[:-1]:
        place = place[step]
    place["runPolicy"] = {"backoffLimit": 1, "suspend": False}
    assert any("belongs below spec; it had no effect" in line for line in refusals(job))


@pytest.mark.parametrize("name", ["asr-finetune-", "a-", "tts.", "x"])
def test_19_a_generated_name_needs_one_that_stays(name: str) -> None:
    job = old_job()
    job["metadata"] = {"generateName": name}
    assert any("metadata.generateName" in line and "--name" in line for line in refusals(job))
    assert convert(job, name="asr-7").job["metadata"]["name"] == "asr-7"


# ---- recordings ----

ODD: dict[str, tuple[str, dict[str, Any]]] = {
    "320 samples": ("TooShort", {"seconds": 320 / 22050}),
    "a minute": ("TooLong", {"seconds": 67.0}),
    "punctuation": ("EmptyText", {"text": "।!?…"}),
    "no width": ("EmptyText", {"text": "\u200b\u200d"}),
    "emoji": ("EmptyText", {"text": "😀😀😀"}),
    "more letters than time": ("TooShort", {"text": "a" * 90}),
    "a file that was cut": ("Manifest", {"promised": 1.11}),
    "silence": ("Silent", {"loud": 0.0}),
}


@pytest.mark.parametrize("odd", ODD)
def test_24_odd_recordings_are_refused_before_training(odd: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import soundfile

    from speech_trainer.data.prepare import PrepareOptions, prepare
    from speech_trainer.data.validate import validate_manifest

    reason, made = ODD[odd]
    records = []
    for number, fields in enumerate([{}, made]):
        seconds = fields.get("seconds", 0.5)
        wave = fields.get("loud", 0.3) * np.sin(np.arange(int(seconds * 22050)) / 9.0)
        soundfile.write(tmp_path / f"{number}.wav", wave, 22050)
        records.append(
            {"audio_filepath": f"{number}.wav", "duration": fields.get("promised", len(wave) / 22050),
             "text": fields.get("text", "hello"), "speaker": "a", "language": "en"}
        )  # fmt: skip
    path = tmp_path / "train.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    assert validate_manifest(path).by_reason() == {reason: 1}
    prepared = prepare(path, tmp_path / "prepared", PrepareOptions())
    assert [problem.line for problem in prepared.problems] == [2]
    assert validate_manifest(prepared.manifest).ok


def test_every_handed_case_is_here() -> None:
    tables = (NANS, EVALUATIONS, THOUSANDS, EMPTY, POLICIES, TALK, SILENT)
    named = {case for table in tables for case in table}
    functions = [name.removeprefix("test_").partition("_")[0] for name in globals()]
    by_number = {case for case in HANDED if case.partition("-")[0] in functions}
    assert named | by_number == HANDED
    assert all(len(forms) >= 4 for table in tables for forms in table.values())
