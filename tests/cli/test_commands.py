"""Every command through click, on a controller that runs nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from speech_cli.main import COMMANDS, cli
from speech_contract import outcome, paths
from speech_contract.outcome import Outcome
from speech_contract.report import BadStep

Make = dict[str, Callable[..., Any]]
Call = Callable[..., Result]
MANIFEST = """
apiVersion: speechtrain.dev/v1alpha1
kind: SpeechTrainingJob
metadata: {name: voice, namespace: speech}
spec: {checkpoint: {uri: run}, recipe: {vits: {preset: Debug}}, data: {train: {manifest: a}}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(MANIFEST, encoding="utf-8")
    return path


def result_json(folder: Path, score: float = 1.03) -> None:
    folder.mkdir(exist_ok=True)
    (folder / paths.SAMPLES / "step-800").mkdir(parents=True)
    (folder / "export").mkdir()
    document = {
        "step": 800,
        "scores": {"dtw_mel": score},
        "specs": {"dtw_mel": {"better": "Lower"}},
        "baselines": {"constant median frame": {"dtw_mel": 1.156}},
    }
    (folder / paths.RESULT).write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(call: Call, name: str) -> None:
    answer = call(name, "--help")
    assert answer.exit_code == 0
    assert answer.output.startswith("Usage: ")


def test_a_command_that_does_not_exist_is_a_wrong_command_line(call: Call) -> None:
    assert call("prefight").exit_code == outcome.EXIT_USAGE


def test_run_shows_the_run_and_ends_with_the_scores(
    call: Call, runs: Any, make: Make, file: Path
) -> None:
    result_json(runs.run_dir)
    runs.updates = [(make["job"](), make["progress"]()), (make["complete"](), None)]
    answer = call("run", file)
    assert answer.exit_code == 0
    assert "step 120/800 15% | loss 93.21 | gradient norm 12.3" in answer.output
    assert "DTW-mel 1.03, below constant median frame 1.16" in answer.output
    assert f"samples: {runs.run_dir / 'samples' / 'step-800'}" in answer.output
    assert f"export: {runs.run_dir / 'export'}" in answer.output


def test_run_hands_over_manifest_state_namespace_and_volumes(
    call: Call, runs: Any, make: Make, file: Path, state: Path, tmp_path: Path
) -> None:
    runs.updates = [(make["complete"](), None)]
    call("run", file, "--new", "--volume", f"data={tmp_path}")
    assert runs.calls == [("run", file, state, "speech", True, {"data": tmp_path})]


def test_the_namespace_option_wins_over_the_manifest(
    call: Call, runs: Any, make: Make, file: Path
) -> None:
    runs.updates = [(make["complete"](), None)]
    call("run", file, "-n", "other")
    assert runs.calls[0][3] == "other"


@pytest.mark.parametrize("code", [40, 41, 42, 45, 64, 65, 137])
def test_run_exits_with_the_code_of_the_outcome(
    call: Call, runs: Any, make: Make, file: Path, code: int
) -> None:
    runs.updates, runs.code = [(make["nan"](), None)], code
    answer = call("run", file)
    assert answer.exit_code == code
    assert "voice: Failed" in answer.output
    assert "next: speechtrain why voice" in answer.output


def test_a_suspended_run_exits_75_and_says_how_to_go_on(
    call: Call, runs: Any, make: Make, file: Path
) -> None:
    runs.updates, runs.code = [(make["job"]("Suspended"), None)], 75
    answer = call("run", file)
    assert answer.exit_code == 75
    assert "continue with: speechtrain resume voice -n speech\n" in answer.output


def test_the_way_on_leads_to_the_job_that_ran(
    call: Call, runs: Any, make: Make, file: Path
) -> None:
    """`run FILE --new` made another job, and -n is part of where it lives."""
    document = make["job"]("Suspended")
    document["metadata"]["name"] = "voice-2"
    runs.updates, runs.code = [(document, None)], 75
    answer = call("run", file, "--new", "-n", "speech")
    assert "continue with: speechtrain resume voice-2 -n speech" in answer.output


def test_a_mistyped_command_is_guessed(call: Call) -> None:
    answer = call("rnu")
    assert answer.exit_code == 2
    assert "No such command 'rnu'; did you mean run?" in answer.output


def test_a_mistyped_field_is_refused_before_anything_runs(
    call: Call, runs: Any, file: Path
) -> None:
    file.write_text(MANIFEST.replace("preset: Debug", "learningrate: 2e-5"), encoding="utf-8")
    answer = call("run", file)
    assert answer.exit_code == 64
    assert (
        f"{file}: spec.recipe.vits.learningrate: '2e-5' is an unknown field; "
        "did you mean learningRate?" in answer.output
    )
    assert runs.calls == []


def test_what_the_controller_refuses_is_told_with_64(call: Call, runs: Any, file: Path) -> None:
    runs.error = runs.LocalRunError("spec.numNodes: is immutable; use --new")
    answer = call("run", file)
    assert answer.exit_code == 64
    assert "Error: spec.numNodes: is immutable; use --new" in answer.output


def test_notices_of_the_controller_are_shown(call: Call, runs: Any, make: Make, file: Path) -> None:
    runs.updates = [(make["complete"](), None)]
    assert "ignored on one machine: accelerator" in call("run", file).output


def test_a_missing_file_is_a_wrong_command_line(call: Call, runs: Any, tmp_path: Path) -> None:
    answer = call("run", tmp_path / "none.yaml")
    assert answer.exit_code == outcome.EXIT_USAGE
    assert "none.yaml" in answer.output


def test_crd_prints_what_is_committed(call: Call) -> None:
    printed = yaml.safe_load(call("crd").output)
    assert printed["kind"] == "CustomResourceDefinition"
    assert printed["spec"]["names"]["kind"] == "SpeechTrainingJob"
    policy, binding, *_ = yaml.safe_load_all(call("crd", "--policy").output)
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    kinds = [
        d["spec"]["names"]["kind"] for d in yaml.safe_load_all(call("crd", "--runtimes").output)
    ]
    assert kinds == ["SpeechTrainingRuntime", "ClusterSpeechTrainingRuntime"]
    assert call("crd", "--check").exit_code == 0


def test_a_stale_crd_is_told_with_the_difference(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speech_contract.api.crd.HEADER", "# other\n")
    answer = call("crd", "--check")
    assert answer.exit_code == 1
    assert "run `make crd`" in answer.output
    assert "+# other" in answer.output


@pytest.mark.parametrize("volume", ["data", "=x", "data="])
def test_a_volume_is_a_name_and_a_folder(call: Call, runs: Any, file: Path, volume: str) -> None:
    answer = call("run", file, "--volume", volume)
    assert answer.exit_code == 64
    assert "NAME=DIR" in answer.output


def test_run_as_json_prints_one_document_on_standard_output(
    call: Call, runs: Any, make: Make, file: Path
) -> None:
    result_json(runs.run_dir)
    runs.updates = [(make["job"](), make["progress"]()), (make["complete"](), None)]
    document = json.loads(call("run", file, "-o", "json").stdout)
    assert document["exitCode"] == 0
    assert document["result"]["scores"] == {"dtw_mel": 1.03}
    assert document["job"]["status"]["state"] == "Complete"


def test_suspend_and_resume_reach_the_controller(
    call: Call, runs: Any, make: Make, state: Path
) -> None:
    runs.jobs = {"voice": make["job"]()}
    runs.updates = [(make["complete"](), None)]
    assert "speechtrain resume voice" in call("suspend", "voice").output
    assert call("resume", "voice").exit_code == 0
    assert runs.calls == [("suspend", state, "default", "voice"),
                          ("resume", state, "default", "voice")]  # fmt: skip


def test_status_lists_jobs_with_the_columns_of_kubectl(call: Call, runs: Any, make: Make) -> None:
    runs.jobs = {"voice": make["nan"]()}
    header, row = call("status").output.splitlines()
    assert header.split() == [
        "NAME", "STATE", "REASON", "NODES", "STEP", "LOSS", "HEALTH", "RESTARTS", "HEARD", "AGE"
    ]  # fmt: skip
    assert row.split()[:7] == [
        "voice",
        "Failed",
        "NonFiniteBudgetSpent",
        "1/1",
        "15/800",
        "NaN",
        "Critical",
    ]


def test_a_long_name_is_not_cut_in_a_pipe(call: Call, runs: Any, make: Make) -> None:
    name = "a" * 60
    document = make["nan"]()
    document["metadata"]["name"] = name
    runs.jobs = {name: document}
    assert call("status").output.splitlines()[1].split()[0] == name


def test_status_of_one_failed_job_says_what_to_do(call: Call, runs: Any, make: Make) -> None:
    runs.jobs = {"voice": make["nan"]()}
    answer = call("status", "voice")
    assert answer.exit_code == 0
    assert "remedy: lower the learning rate" in answer.output


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_status_as_a_document(
    call: Call, runs: Any, make: Make, form: str, read: Callable[[str], Any]
) -> None:
    runs.jobs = {"voice": make["nan"]()}
    assert read(call("status", "voice", "-o", form).stdout) == make["nan"]()
    assert read(call("status", "-o", form).stdout) == {"items": [make["nan"]()]}


def test_a_mistyped_job_gets_the_nearest_name(call: Call, runs: Any, make: Make) -> None:
    runs.jobs = {"voice": make["job"]()}
    for command in ("status", "why", "suspend", "resume", "logs"):
        answer = call(command, "vioce")
        assert answer.exit_code == 64
        assert "did you mean voice?" in answer.output


def nan_run(runs: Any, make: Make, state: Path) -> None:
    """A NaN run as it lies on disk: state, outcome, log, quarantine."""
    runs.jobs = {"voice": make["nan"]()}
    pods = state / "default" / "voice" / "pods"
    pods.mkdir(parents=True)
    told = Outcome(1, 0, "Training", 40, "loss is nan", "NonFinite", 0, step=15,
                   first_bad=BadStep(11, "generator/kl", "flow", 0, ("wavs/7.wav",)))  # fmt: skip
    (pods / "voice-master-0.termination.json").write_text(outcome.encode(told), encoding="utf-8")
    log = paths.rank_log(runs.run_dir, 1, 0)
    log.parent.mkdir(parents=True)
    log.write_text(
        "a\nstep 14 loss nan\nstep 15 loss nan\n"
        '{"ts": 1.0, "event": "update_skipped"}\nNonFinite: loss is nan\n',
        encoding="utf-8",
    )
    (runs.run_dir / paths.QUARANTINE).write_text(
        '{"audio_filepath": "wavs/3.wav", "reason": "DecodeError", "message_text": "is broken"}\n',
        encoding="utf-8",
    )


def test_why_tells_a_nan_run_in_about_ten_lines(
    call: Call, runs: Any, make: Make, state: Path
) -> None:
    nan_run(runs, make, state)
    assert call("why", "voice").output.splitlines() == [
        "voice: Failed, health Critical, NonFiniteBudgetSpent (exit code 40: non-finite losses or "
        "gradients beyond the budget, or a spike that did not heal)",
        "attempts  1: AttemptFailed NonFiniteBudgetSpent, exit code 40, rank 0, last step 15, "
        "from scratch",
        "first bad step 11, rank 0, loss component generator/kl, module flow, sample wavs/7.wav",
        "rule      NonFinite: 4 steps in a row with loss nan, steps 12 to 15 → Stopped",
        "message   loss is nan",
        "skipped   1 DecodeError; first: wavs/3.wav (is broken); listed in "
        f"{runs.run_dir / 'quarantine.jsonl'}",
        "log       step 14 loss nan",
        "          step 15 loss nan",
        f"          all of it: {paths.rank_log(runs.run_dir, 1, 0)}",
        "next      lower the learning rate; then `speechtrain run FILE --new`",
    ]


def test_why_as_json_has_the_same_facts(call: Call, runs: Any, make: Make, state: Path) -> None:
    nan_run(runs, make, state)
    document = json.loads(call("why", "voice", "-o", "json").stdout)
    assert (document["rule"], document["step"], document["module"]) == ("NonFinite", 11, "flow")
    assert document["samples"] == ["wavs/7.wav"]
    assert document["skippedSamples"] == {"DecodeError": 1}
    assert document["attempts"][0]["exitCode"] == 40


def test_why_names_the_rank_that_was_off_its_node_and_what_is_left_out(
    call: Call, runs: Any, make: Make
) -> None:
    finding = {
        "rule": "RankDivergence", "status": "Active", "severity": "critical", "action": "Restarted",
        "evidence": "weights differ at step 200", "step": 200, "rank": 9, "node": "gpu-7",
    }  # fmt: skip
    attempt = {
        "number": 1, "reason": "AttemptFailed", "cause": "RankDisagrees", "exitCode": 46,
        "rank": 9, "node": "gpu-7", "lastStep": 204, "pod": "voice-worker-0",
    }  # fmt: skip
    left_out = {
        "name": "gpu-7",
        "attempt": 1,
        "cause": "RankDisagrees",
        "until": "2026-01-02T00:00:00Z",
    }
    document = make["job"](
        "Restarting", health={"verdict": "Critical", "findings": [finding]}, attempts=[attempt],
        excludedNodes=[left_out],
    )  # fmt: skip
    runs.jobs = {"voice": document}
    said = call("why", "voice").output.splitlines()
    assert (
        "attempts  1: AttemptFailed RankDisagrees, exit code 46, rank 9 on node gpu-7, last step 204, "
        "from scratch"
    ) in said
    assert "rule      RankDivergence: weights differ at step 200 → Restarted" in said
    assert "left out  node gpu-7 until 2026-01-02T00:00:00Z, for RankDisagrees of attempt 1" in said
    assert (
        "critical RankDivergence at step 200 on rank 9 (node gpu-7)"
        in call("status", "voice").output
    )


def test_why_of_a_good_run_has_nothing_to_mend(call: Call, runs: Any, make: Make) -> None:
    result_json(runs.run_dir)
    runs.jobs = {"voice": make["complete"]()}
    said = call("why", "voice").output.splitlines()
    assert said[0] == "voice: Complete, health Healthy"
    assert said[-1] == "next      nothing to do"
    assert any(line.startswith("scores    DTW-mel 1.03, below") for line in said)


def test_why_shows_how_held_out_scores_went(call: Call, runs: Any, make: Make) -> None:
    result_json(runs.run_dir)
    told = [
        {"event": "evaluation_finished", "step": step, "scores": {"dtw_mel": score}}
        for step, score in ((400, 1.2), (800, 1.03))
    ]
    (runs.run_dir / paths.EVENTS).write_text("".join(f"{json.dumps(row)}\n" for row in told))
    runs.jobs = {"voice": make["complete"]()}
    said = call("why", "voice").output.splitlines()
    at = said.index("course    step  DTW-mel")
    assert said[at + 1 : at + 4] == [
        "           400     1.20",
        "           800     1.03",
        "          beats constant median frame in DTW-mel since step 800",
    ]
    document = json.loads(call("why", "voice", "-o", "json").stdout)
    assert document["evaluations"][0] == {"step": 400, "scores": {"dtw_mel": 1.2}}


def test_why_of_a_running_job_invents_no_fault(call: Call, runs: Any, make: Make) -> None:
    document = make["job"](progress={"step": 40}, health={"verdict": "Healthy"})
    runs.jobs = {"voice": document}
    assert call("why", "voice").output.splitlines() == [
        "voice: Running, health Healthy",
        "where     step 40",
        "next      nothing to explain yet: `speechtrain status voice`",
    ]


def test_why_of_a_complete_run_with_a_warning_tells_it(call: Call, runs: Any, make: Make) -> None:
    document = make["complete"]()
    finding = {"rule": "SkippedSamples", "status": "Active", "severity": "warning", "evidence": "1 of 97",
               "action": "Warned", "remedy": "mend the files"}  # fmt: skip
    document["status"]["health"] = {"verdict": "Warning", "findings": [finding]}
    runs.jobs = {"voice": document}
    said = call("why", "voice").output.splitlines()
    assert "finding   warning SkippedSamples: 1 of 97 → Warned; mend the files" in said
    assert said[-1] == "next      mend the files"


def test_why_of_a_suspended_job_is_no_fault(call: Call, runs: Any, make: Make) -> None:
    attempts = [{"number": 1, "reason": "Suspended", "exitCode": 143, "lastStep": 40}]
    runs.jobs = {"voice": make["job"]("Suspended", attempts=attempts)}
    said = call("why", "voice").output.splitlines()
    assert said[0] == "voice: Suspended, health Unknown"
    assert said[-1] == "next      `speechtrain resume voice` continues it"


def test_why_tells_of_broken_files_instead_of_hiding_them(
    call: Call, runs: Any, make: Make
) -> None:
    runs.run_dir.mkdir()
    (runs.run_dir / paths.QUARANTINE).write_text("{half", encoding="utf-8")
    runs.jobs = {"voice": make["nan"]()}
    assert "note      quarantine.jsonl line 1 is no JSON" in call("why", "voice").output


def test_logs_print_the_tail_of_a_rank(call: Call, runs: Any, make: Make, state: Path) -> None:
    nan_run(runs, make, state)
    lines = call("logs", "voice", "--tail", "3").output.splitlines()
    assert (lines[0], lines[-1]) == ("step 15 loss nan", "NonFinite: loss is nan")
    assert call("logs", "voice", "--rank", "7").exit_code == 64


@pytest.mark.parametrize("arguments", [["status"], ["status", "voice"], ["why", "voice"]])
def test_pipes_and_no_color_get_no_escape_codes(
    runs: Any, make: Make, arguments: list[str]
) -> None:
    runs.jobs = {"voice": make["nan"]()}
    for extra in ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, {}):
        answer = CliRunner(env=extra).invoke(cli, arguments, color=True)
        assert answer.exit_code == 0
        assert "\x1b" not in answer.output


def test_plain_wins_over_a_forced_terminal(runs: Any, make: Make, file: Path) -> None:
    runs.updates = [(make["job"](), make["progress"]()), (make["complete"](), None)]
    forced = CliRunner(env={"FORCE_COLOR": "1"})
    assert "\x1b" in forced.invoke(cli, ["run", str(file)]).output
    assert "\x1b" not in forced.invoke(cli, ["run", str(file), "--plain"]).output


def test_a_missing_extra_is_named(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name="torch")

    monkeypatch.setattr("speech_cli.extras.importlib.import_module", absent)
    from speech_cli.errors import MissingExtra
    from speech_cli.extras import lazily

    with pytest.raises(MissingExtra, match=r"torch.*install speechtrain\[trainer,cli\]"):
        lazily("speech_trainer.data.synthesize", "trainer,cli")
