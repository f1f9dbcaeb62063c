"""`speechtrain replay`: a format is told by content, one file's refusal leaves the others alone."""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from speech_cli.errors import BadData
from speech_cli.recordings import Recording, samples_of
from speech_contract import outcome

Call = Callable[..., Result]
STEPS = range(1, 41)


def row(step: int) -> dict[str, Any]:
    return {"step": step, "loss": 2.0 + 1.0 / step, "lr": 1e-4}


STATE = json.dumps({"log_history": [row(step) for step in STEPS]})
LINES = "".join(f"{json.dumps(row(step))}\n" for step in STEPS)
TABLE = "step,loss,lr\n" + "".join(f"{i},{row(i)['loss']},1e-4\n" for i in STEPS)
KERAS = {"loss": [row(i)["loss"] for i in STEPS], "val_loss": [9.0 for _ in STEPS]}
DORA = [{"train": {"loss": row(i)["loss"]}, "valid": {"loss": 9.0}} for i in STEPS]

CONTENTS = {
    "state": ("a.log", STATE, "Hugging Face trainer_state.json"),
    "JSON lines called json": ("metrics.json", LINES, "JSON lines"),
    "JSON lines called log": ("a.log", '{"env": "x"}\n' + LINES, "JSON lines"),
    "keras": ("history.json", json.dumps(KERAS), "Keras history"),
    "dora": ("history.json", json.dumps(DORA), "JSON list of entries"),
    "cut state": ("trainer_state.json", STATE[: STATE.rindex("{") + 9], "Hugging Face trainer_state.json"),
    "csv called txt": ("a.txt", TABLE, "CSV"),
    "semicolons": ("a.csv", TABLE.replace(",", ";").replace(".", ","), "CSV with ;"),
    "tabs": ("a.csv", TABLE.replace(",", "\t"), "TSV"),
    "export of TensorBoard": (
        "run-.-tag-loss_train.csv",
        "Wall time,Step,Value\n" + "".join(f"1.0,{i},{row(i)['loss']}\n" for i in STEPS),
        "TensorBoard's CSV export",
    ),
    "MLflow": ("loss", "".join(f"170000000{i:04} {row(i)['loss']} {i}\n" for i in STEPS), "MLflow metric"),
    "Comet": (
        "metrics.jsonl",
        "".join(
            f'{{"metricName": "loss", "metricValue": "{row(i)["loss"]}", "step": {i}}}\n' for i in STEPS
        ),
        "JSON lines",
    ),
    "python's mappings": ("a.json", "".join(f"{row(i)}\n" for i in STEPS), "log: Hugging Face Trainer"),
    "brackets of a logger": (
        "a.log",
        "".join(f"[2024-01-01 10:00:00] step {i}, loss: {row(i)['loss']}\n" for i in STEPS),
        "log: lines of name and number",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("packed", ["plain", "gzip", "utf-16"])
def test_the_content_tells_the_format(tmp_path: Path, kind: str, packed: str) -> None:
    name, text, form = CONTENTS[kind]
    path = tmp_path / name
    data = text.encode("utf-16" if packed == "utf-16" else "utf-8")
    path.write_bytes(gzip.compress(data) if packed == "gzip" else data)
    recording = Recording(path)
    losses = [sample.losses for sample in recording.samples()]
    assert recording.format == form
    wanted = [{"loss": row(step)["loss"]} for step in STEPS]
    assert losses == (wanted[:-1] if kind == "cut state" else wanted)


def test_one_refused_file_leaves_the_others_alone(call: Call, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.json", tmp_path / "good.csv"
    bad.write_text("{")
    good.write_text(TABLE)
    answer = call("replay", str(bad), str(good), str(tmp_path / "none.csv"))
    assert answer.exit_code == outcome.EXIT_BAD_DATA
    assert "40 report(s) up to step 40, no rule fires" in answer.output
    assert answer.output.count("Error: ") == 2


def test_many_files_are_one_table(call: Call, tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.csv").write_text(TABLE)
    (tmp_path / "zero.csv").write_text("step,loss\n" + "".join(f"{i},0.0\n" for i in STEPS))
    answer = call("replay", *map(str, sorted(tmp_path.iterdir())))
    assert answer.exit_code == outcome.EXIT_ERROR
    rows = answer.output.splitlines()
    assert len(rows) == 14
    assert [
        line for line in rows if "ZeroLoss" in line and "critical" in line and "zero.csv" in line
    ]


def test_thresholds_on_the_command_line(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "zero.csv"
    path.write_text("step,loss\n" + "".join(f"{i},0.0\n" for i in STEPS))
    assert call("replay", str(path)).exit_code == outcome.EXIT_ERROR
    assert call("replay", "--set", "zeroLoss.onExceeded=Warn", str(path)).exit_code == 0


def test_a_range_on_the_command_line(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "codec.csv"
    rows = "".join(f"{i},{1 + 1 / i},{1.5 + 0.1 * i}\n" for i in range(1, 20))
    path.write_text(f"step,loss,vq_loss\n{rows}")
    settings = ("--set", "expect.vqLoss.max=2.0", "--set", "expect.vqLoss.forReports=2")
    answer = call("replay", *settings, "-o", "json", str(path))
    assert answer.exit_code == 0
    (fired,) = json.loads(answer.stdout)[str(path)]
    assert (fired["rule"], fired["step"], fired["severity"]) == ("Expectation", 6, "warning")
    stops = call("replay", *settings, "--set", "expect.vqLoss.onExceeded=Stop", str(path))
    assert stops.exit_code == outcome.EXIT_ERROR


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("expect.vqLoss.max=x", "is no number"),
        ("zeroLoss.forSteps=0", "write a whole number of at least 1"),
        ("zeroLoss.onExceeded=Restart", "use one of Warn, Stop"),
        ("zeroLoss.forStep=3", "did you mean forSteps?"),
        ("zeroLos.forSteps=3", "did you mean zeroLoss?"),
        ("lossSpike.factor=x", "is no number"),
        ("zeroLoss", "RULE.FIELD=VALUE"),
    ],
)
def test_a_wrong_threshold_is_told_with_its_remedy(call: Call, setting: str, said: str) -> None:
    answer = call("replay", "--set", setting, __file__)
    assert answer.exit_code == outcome.EXIT_BAD_CONFIG
    assert said in answer.output


def test_formats_are_listed(call: Call) -> None:
    answer = call("replay", "--list-formats")
    assert answer.exit_code == 0
    assert "Keras history" in answer.output


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ("mean_loss,part_a_loss", "loss read from column mean_loss"),
        ("Train Loss 2,val_loss", "loss read from column Train Loss 2"),
        ("Disc Loss,Gen Loss", "loss read from column Gen Loss"),
        ("actor/pg_loss,actor/total_loss", "loss read from column actor/total_loss"),
        ("train/loss_actor,train/loss_critic", "loss read from column train/loss_critic"),
    ],
)
def test_a_loss_of_another_name_is_judged_and_named(
    call: Call, tmp_path: Path, columns: str, told: str
) -> None:
    chance = random.Random(1)
    path = tmp_path / "a.csv"
    lines = [
        f"{i},{v:.6f},{v:.6f}"
        for i in range(400)
        for v in [(0.03 + 0.002 * chance.random()) * (600 if i >= 200 else 1)]
    ]
    path.write_text(f"step,{columns}\n" + "\n".join(lines))
    answer = call("replay", str(path))
    assert "LossSpike" in answer.output
    assert told in answer.output


def test_an_export_of_weights_and_biases(tmp_path: Path) -> None:
    path = tmp_path / "wandb_export.csv"
    head = '"Step","run-1 - train/loss","run-1 - train/loss__MIN","run-2 - train/loss"\n'
    path.write_text(head + "".join(f'"{i}","{2.0 + i}","0","9"\n' for i in STEPS))
    recording = Recording(path)
    assert [s.losses for s in recording.samples()] == [{"loss": 2.0 + i} for i in STEPS]
    assert recording.notes == ["columns of 2 runs, judged is run-1"]


def test_losses_of_a_log_without_a_whole_one_are_said_not_to_be_judged(
    call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "a.log"
    path.write_text("".join(f"step {i} d_loss: 1.{i} g_loss: 2.{i}\n" for i in STEPS))
    answer = call("replay", str(path))
    assert "loss not recognised among d_loss, g_loss: spikes not judged" in answer.output


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("Epoch [1/9], Step [{0}/999], Mel Loss: {1:.5f}, Gen Loss: 0.00000", "mel_loss"),
        ("epoch {0}/999, contrastive loss: {1:.4f}", "contrastive_loss"),
        ("[INFO] Step {0}/999; acc: 1.0; ppl: 3.1; xent: {1:.2f}; lr: 0.00010; 12 sec;", "xent"),
        ("loss_disc=2.1, loss_gen=3.1, loss_fm=9.1,loss_mel={1:.3f}, loss_kl=1.2", "loss_mel"),
    ],
)
def test_a_part_of_a_log_stands_for_the_whole(
    call: Call, tmp_path: Path, line: str, told: str
) -> None:
    chance, path = random.Random(1), tmp_path / "a.log"
    values = [(20 + chance.random()) * (30 if i >= 200 else 1) for i in range(400)]
    path.write_text("".join(line.format(i, value) + "\n" for i, value in enumerate(values)))
    answer = call("replay", str(path))
    assert "LossSpike" in answer.output
    assert f"loss read from {told}" in answer.output


def test_one_line_with_commas_is_a_log_and_no_table(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text('| train | {"epoch": 73, "train_loss": "nan", "train_num_updates": "9291"}\n')
    answer = call("replay", str(path))
    assert "NonFinite" in answer.output


def test_a_history_may_call_its_loss_train(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    path.write_text('{"train": [2.7, 2.1, 1.7], "val": [2.5, 2.2, 1.8], "train_acc": [1, 2, 3]}')
    answer = call("replay", str(path))
    assert "loss read from column train" in answer.output
    assert "3 report(s)" in answer.output


SECOND = {
    "epoch of a log": lambda run, e, v: f"Epoch {e:03d} | Train Loss: {v:.4f} | Val Loss: 0.2\n",
    "epoch of a table": lambda run, e, v: f"{e},{v:.4f}\n",
    "summary between": lambda run, e, v: f"{json.dumps({'loss': v, 'step': e + 600 * run})}\n",
}


@pytest.mark.parametrize("form", SECOND)
def test_a_second_run_in_a_file_has_a_baseline_of_its_own(
    call: Call, tmp_path: Path, form: str
) -> None:
    chance, path = random.Random(1), tmp_path / "a.log"
    with path.open("w") as file:
        file.write("epoch,train_loss\n" if form == "epoch of a table" else "")
        for run in (0, 1):
            for e in range(1, 601):
                value = 3.5 * math.exp(-e / 90) + 0.008 + chance.random() * 0.001
                file.write(SECOND[form](run, e, value))
            if form == "summary between":
                file.write('{"train_runtime": 12.0, "train_loss": 0.1}\n')
    answer = call("replay", str(path))
    assert answer.exit_code == 0
    assert "1200 report(s) of 2 runs" in answer.output
    assert "no rule fires" in answer.output


def test_a_directory_is_read_from_the_best_file_in_it(tmp_path: Path) -> None:
    run = tmp_path / "lightning_logs" / "version_0"
    run.mkdir(parents=True)
    (run / "metrics.csv").write_text(TABLE)
    (run / "hparams.yaml").write_text("a: 1")
    recording = Recording(tmp_path)
    assert len(list(recording.samples())) == len(STEPS)
    assert recording.notes == ["read from lightning_logs/version_0/metrics.csv"]


def test_a_policy_reads_the_same_from_a_file_and_as_printed(call: Call, tmp_path: Path) -> None:
    rows = [
        {"loss": 0.0, "grad_norm": 0.07 + i % 7 * 1e-3, "reward": 0.3 + i / 300, "step": 5 * i + 5}
        for i in range(40)
    ]
    state, log = tmp_path / "trainer_state.json", tmp_path / "run.log"
    state.write_text(json.dumps({"log_history": rows}))
    log.write_text("".join(f"{one}\n" for one in rows))
    assert call("replay", str(state), str(log)).exit_code == 0


def test_equal_rewards_are_no_dead_graph(call: Call, tmp_path: Path) -> None:
    still = {6, 7, 8, 19, 20}
    rows = [
        {
            "loss": 0.002 * (-1) ** i,
            "grad_norm": 0.0 if i in still else 0.7,
            "learning_rate": 4e-5,
            "frac_reward_zero_std": 0.9 if i in still else 0.3,
            "step": 10 * i + 10,
        }
        for i in range(50)
    ]
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"log_history": rows}))
    answer = call("replay", str(path))
    assert answer.exit_code == 0, answer.output


def test_validation_batches_are_no_evaluations(call: Call, tmp_path: Path) -> None:
    chance, path = random.Random(1), tmp_path / "metrics.csv"
    with path.open("w") as file:
        file.write("step,train_loss,val_loss_step\n")
        for i in range(300):
            file.write(f"{i},{1 / (1 + i / 99):.5f},\n")
            for _ in range(3):
                file.write(f"{i},,{0.001 * math.exp(chance.gauss(0, 0.6)):.6f}\n")
    assert "no rule fires" in call("replay", str(path)).output
    assert all(sample.evaluation is None for sample in samples_of(path))


def test_rows_without_a_heading_are_said_to_lack_one(call: Call, tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    rows = "".join(f"INFO - |{i:10d}|{i * 100:10d}|{1 / i:10.4f}|\n" for i in STEPS)
    log.write_text(rows)
    refused = call("replay", str(log))
    assert refused.exit_code == outcome.EXIT_BAD_DATA
    assert "40 lines are rows of numbers without a heading" in refused.stderr
    log.write_text("INFO - |     Epoch|     Batch|      Loss|\n" + "Loading\n" * 300 + rows)
    assert "40 report(s)" in call("replay", str(log)).output


def test_a_metric_of_mlflow_is_called_after_its_path(tmp_path: Path) -> None:
    path = tmp_path / "metrics" / "val" / "loss"
    path.parent.mkdir(parents=True)
    path.write_text("1700000000000 2.5 10\n")
    with pytest.raises(BadData, match="no training step"):
        list(Recording(path).samples())


def test_comets_context_tells_an_evaluation(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    entry = {"metricName": "loss", "metricValue": "2.5", "step": 1}
    path.write_text(json.dumps([entry, {**entry, "metricValue": "9", "runContext": "validate"}]))
    (sample,) = [s for s in Recording(path).samples() if s.losses]
    assert sample.losses == {"loss": 2.5}
