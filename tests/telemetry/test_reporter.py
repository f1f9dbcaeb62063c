"""The rank's side: what it sends, and that nothing it does reaches the training."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys

import pytest

from speech_contract import codec, env
from speech_contract.phases import PHASES, Phase
from speech_contract.report import MAX_PEERS, Codebook, Peers, Weights
from speech_contract.saves import Handed, Resume
from speech_contract.scores import Better, ScoreSpec
from speech_contract.wire import DATAGRAM_LIMIT, PHASE_RECORD, Datagram
from speech_telemetry.outbox import WAITING
from speech_telemetry.reporter import Reporter, stack_file


class Tensor:
    """Something that `float()` takes."""

    def __float__(self):
        return 1.5

    def __int__(self):
        return 1


class Broken:
    """Something that `float()` does not take, in an unexpected way."""

    def __float__(self):
        raise RuntimeError("device lost")


@pytest.fixture
def inbox(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is at most 107 bytes
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind("socket")
        opened.setblocking(False)
        yield opened


@pytest.fixture
def environ(inbox):
    return {env.SOCKET: "socket", env.PHASE_FILE: "phase-{rank}", env.RANK: "3"}


@pytest.fixture
def reporter(environ, inbox):
    opened = Reporter(environ, clock=lambda: 1000.0, monotonic=lambda: 7.0)
    yield opened
    inbox.close()  # else the end waits for somebody to read
    opened.close()


def received(inbox):
    return json.loads(inbox.recv(DATAGRAM_LIMIT))


def test_a_step_carries_what_was_given(reporter, inbox):
    reporter.step(
        4,
        loss=Tensor(),
        grad_norm=math.nan,
        learning_rate=1e-4,
        skipped={"Other": 2},
        planned_learning_rate=2e-4,
    )
    sent = received(inbox)
    assert (sent["rank"], sent["step"], sent["time"]) == (3, 4, 1000.0)
    assert sent["losses"] == {"loss": 1.5}
    assert sent["gradientNorm"] == "nan"
    assert (sent["learningRate"], sent["plannedRate"]) == (1e-4, 2e-4)
    assert sent["skipped"] == {"Other": 2}


def test_a_plan_and_a_comparison_are_reports_of_their_own(reporter, inbox):
    reporter.plan(total_steps=100, fresh=True)
    reporter.step(20)
    reporter.weights(10, 10, {"flow": Tensor()}, movement={"flow": 1e-3})
    assert received(inbox)["plan"] == {"totalSteps": 100, "fresh": True}
    assert received(inbox)["step"] == 20
    sent = codec.loads(Datagram, inbox.recv(DATAGRAM_LIMIT))
    assert sent.weights == Weights(20, 10, 10, {"flow": 1.5}, {"flow": 1e-3})
    assert sent.step == 20


def test_a_save_is_told_with_its_place_and_again_with_the_next_step_alone(
    reporter, inbox, tmp_path
):
    reporter.checkpoint(15, "saved/15.pt")
    reporter.step(16, loss=1.0, window=(120, Tensor()))
    reporter.step(17, loss=1.0)
    first, second, third = (codec.loads(Datagram, inbox.recv(DATAGRAM_LIMIT)) for _ in range(3))
    for told in (first, second):
        assert told.last_checkpoint_step == 15
        assert told.checkpoint_path == str(tmp_path / "saved/15.pt")
    assert (first.phase, second.window) == (Phase.CHECKPOINT, (120, 1))
    assert (third.last_checkpoint_step, third.checkpoint_path, third.window) == (None, "", None)


def test_what_to_go_on_from_and_what_to_pass_over_stand_in_the_environment():
    given = Handed(Resume(40, "/run/40.pt"), ((3, 5), (9, 10)))
    asked = Reporter(given.environ({}))
    assert (asked.resume_from(), asked.skip_windows()) == (given.resume, [(3, 5), (9, 10)])
    assert [n for n in range(12) if asked.skips(n)] == [3, 4, 9]
    nothing = Reporter({})
    assert (nothing.resume_from(), nothing.skip_windows(), nothing.skips(3)) == (None, [], False)


def test_codebooks_travel_with_the_step(reporter, inbox):
    reporter.step(4, loss=1.0, codebooks={"0": {"perplexity": Tensor(), "size": 8.0}, "1": {}})
    sent = codec.loads(Datagram, inbox.recv(DATAGRAM_LIMIT))
    assert sent.codebooks == {"0": Codebook(perplexity=1.5, size=8), "1": Codebook()}
    reporter.step(5, codebooks={"0": {"perplexities": 1.0}})
    assert reporter.dropped == 1


def test_components_stand_beside_the_whole_loss(reporter, inbox):
    reporter.step(4, loss=Tensor(), components={"mel": Tensor(), "kl": math.nan}, updates=2)
    sent = codec.loads(Datagram, inbox.recv(DATAGRAM_LIMIT))
    assert list(sent.losses) == ["loss", "mel", "kl"]
    assert (sent.losses["mel"], sent.updates) == (1.5, 2)
    assert math.isnan(sent.losses["kl"])
    reporter.step(5, components={"mel": 1})
    assert received(inbox)["losses"] == {"mel": 1.0}
    reporter.step(6, loss=1, components={"loss": 9})  # a component of that name is not the whole
    assert received(inbox)["losses"] == {"loss": 1.0}
    reporter.step(7, components={"mel": Broken()})
    assert reporter.dropped == 1


def test_a_plan_gives_the_progress_its_end(reporter, inbox):
    reporter.plan(total_steps=100, rate_sum=0.1)
    assert received(inbox)["totalSteps"] == 100


def test_scores_say_how_to_read_them(reporter, inbox):
    reporter.step(20)
    received(inbox)
    specs = {"cer": {"better": "Lower", "unit": "%"}, "snr": ScoreSpec(Better.HIGHER, "dB")}
    reporter.evaluation({"cer": Tensor(), "snr": 12}, specs)
    sent = codec.loads(Datagram, inbox.recv(DATAGRAM_LIMIT))
    assert (sent.step, sent.phase, sent.evaluation) == (
        20,
        Phase.EVALUATION,
        {"cer": 1.5, "snr": 12.0},
    )
    assert sent.score_specs == {
        "cer": ScoreSpec(Better.LOWER, "%"),
        "snr": ScoreSpec(Better.HIGHER, "dB"),
    }
    reporter.evaluation({"cer": 0.5})
    assert "scoreSpecs" not in received(inbox)


@pytest.mark.parametrize("specs", [{"cer": {"better": "Less"}}, {"cer": {"direction": "Lower"}}])
def test_a_score_that_is_described_wrongly_is_counted(reporter, inbox, specs):
    reporter.evaluation({"cer": 0.5}, specs)
    assert reporter.dropped == 1


def test_a_checkpoint_is_told_with_its_step(reporter, inbox):
    reporter.step(20)
    received(inbox)
    reporter.phase("Checkpoint")
    received(inbox)
    reporter.checkpoint()
    sent = received(inbox)
    assert (sent["lastCheckpointStep"], sent["phase"]) == (20, "Checkpoint")
    reporter.checkpoint(15)
    assert received(inbox)["lastCheckpointStep"] == 15
    reporter.resumed(10)
    assert received(inbox)["resumedFromStep"] == 10


def test_what_is_told_between_steps_is_stamped(reporter):
    reporter.evaluation({"cer": 0.5})
    with open("phase-3", "rb") as stream:
        _, index, _ = PHASE_RECORD.unpack(stream.read())
    assert PHASES[index] is Phase.EVALUATION


def test_samples_and_audio_add_up(reporter, inbox):
    reporter.step(1, samples=8, audio_seconds=16.5)
    reporter.step(2, samples=8, audio_seconds=16.5)
    received(inbox)
    sent = received(inbox)
    assert (sent["samplesTotal"], sent["audioSecondsTotal"]) == (16, 33.0)
    reporter.step(3, samples="many")
    reporter.step(4)
    assert received(inbox)["samplesTotal"] == 16


def test_a_mistaken_plan_is_counted_and_training_goes_on(reporter, inbox):
    reporter.plan(stepss=100)
    reporter.weights(10, 10, {"flow": Broken()})
    reporter.step(1)
    assert received(inbox)["dropped"] == 2


def test_skipped_samples_add_up(reporter, inbox):
    reporter.step(1, skipped={"DecodeError": 1})
    reporter.step(2, skipped={"DecodeError": 1, "Other": 1})
    reporter.step(3)
    assert [received(inbox)["skipped"] for _ in range(3)] == [
        {"DecodeError": 1},
        {"DecodeError": 2, "Other": 1},
        {"DecodeError": 2, "Other": 1},
    ]


def test_a_number_that_is_none_is_not_reported(reporter, inbox):
    reporter.step(1)
    assert "losses" not in received(inbox)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda r: r.step(1, loss=Broken()), id="a loss that raises"),
        pytest.param(lambda r: r.step("one"), id="a step that is no number"),
        pytest.param(lambda r: r.step(1, skipped={"Other": "x"}), id="a count that is none"),
        pytest.param(lambda r: r.phase("Lunch"), id="an unknown phase"),
        pytest.param(lambda r: r.send(Datagram(3, 1, 0.0, message="x" * 9000)), id="too large"),
    ],
)
def test_what_cannot_be_sent_is_counted_and_told_later(reporter, inbox, call):
    call(reporter)
    assert reporter.dropped == 1
    reporter.step(2)
    assert received(inbox)["dropped"] == 1


def all_received(inbox):
    """Everything that there is, now."""
    found = []
    while True:
        try:
            found.append(received(inbox))
        except BlockingIOError:
            return found


def test_what_the_queue_has_no_room_for_waits_in_order(reporter, inbox):
    for step in range(1, 51):
        reporter.step(step)
    read = all_received(inbox)
    assert len(read) < 50
    while read[-1]["step"] < 51:
        reporter.step(51)
        read += all_received(inbox)
    assert [sent["step"] for sent in read][:51] == list(range(1, 52))
    assert reporter.dropped == 0


def test_of_very_many_that_wait_the_oldest_are_dropped_and_counted(reporter, inbox):
    for step in range(1, 2000):
        reporter.step(step)
    read = all_received(inbox)
    assert reporter.dropped == 1999 - WAITING - len(read)
    reporter.step(2000)
    assert received(inbox)["step"] == 1999 - WAITING + 1


def test_the_end_of_the_process_waits_for_room(environ, inbox):
    """Of a run that is over, nobody tells the last step again."""
    words = "import sys; from speech_telemetry.reporter import Reporter as R; r = R()\nfor s in range(40): r.step(s)\n"
    command = [sys.executable, "-c", words + "print('made'); sys.stdout.flush()"]
    environment = {**os.environ, **environ}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as writing:
        assert writing.stdout.readline() == b"made\n"
        inbox.settimeout(5.0)
        assert [received(inbox)["step"] for _ in range(40)] == list(range(40))
    assert writing.returncode == 0


def test_a_fork_sends_nothing_of_its_parents(reporter, inbox):
    for step in range(40):
        reporter.step(step)
    child = os.fork()
    if not child:
        reporter.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    queued = len(all_received(inbox))
    reporter.step(40)
    assert received(inbox)["step"] == queued


def test_a_supervisor_that_is_gone_costs_nothing(environ, inbox):
    reporter = Reporter(environ)
    os.unlink("socket")
    reporter.step(1, loss=1.0)
    assert reporter.dropped == 1
    reporter.close()
    reporter.step(2, loss=1.0)
    assert reporter.dropped == 1


def test_without_a_supervisor_nothing_happens():
    reporter = Reporter({})
    reporter.step(1, loss=Broken())
    reporter.phase("Evaluation")
    reporter.close()
    assert not reporter.connected
    assert reporter.dropped == 0


def test_the_phase_record_holds_step_phase_and_time(reporter):
    reporter.stamp(12, Phase.CHECKPOINT)
    with open("phase-3", "rb") as stream:
        step, index, at = PHASE_RECORD.unpack(stream.read())
    assert (step, PHASES[index], at) == (12, Phase.CHECKPOINT, 7.0)


def test_a_phase_is_stamped_and_sent(reporter, inbox):
    reporter.step(5)
    reporter.phase("Evaluation")
    received(inbox)
    sent = received(inbox)
    assert (sent["step"], sent["phase"]) == (5, "Evaluation")


def test_the_stack_signal_prints_this_very_line(reporter, tmp_path):
    path = stack_file(tmp_path, 3, os.getpid())
    assert path.is_file()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert "test_the_stack_signal_prints_this_very_line" in path.read_text()


@pytest.mark.parametrize("norm", [None, 0.25, math.inf])
def test_the_fast_way_says_what_the_contract_says(reporter, inbox, norm):
    sent = Datagram(
        3, 9, 1.0, Phase.EVALUATION, losses={"total": 2.0}, gradient_norm=norm, message="తెలుగు"
    )
    reporter.send(sent)
    assert codec.loads(Datagram, inbox.recv(DATAGRAM_LIMIT)) == sent


@pytest.mark.parametrize(
    "groups", [[list(range(MAX_PEERS))], [[rank] for rank in range(MAX_PEERS)]]
)
def test_what_the_ranks_found_arrives_whole_also_of_the_largest_world(reporter, inbox, groups):
    values = [1.234e-05] * MAX_PEERS
    peers = Peers(100000, groups, 99900, "discriminator", values, values, [*values[1:], math.nan])
    reporter.send(Datagram(0, 100000, 1000.0, peers=peers, losses={"a/b": 1.0}))
    sent = codec.loads(Datagram, inbox.recv(DATAGRAM_LIMIT)).peers
    assert sent.groups == groups
    assert sent.losses == values
    assert math.isnan(sent.wait_ratios[-1])
    assert reporter.dropped == 0


def test_of_a_thousand_ranks_that_all_differ_the_groups_still_fit(reporter, inbox):
    peers = Peers(100000, [[rank] for rank in range(1024)], 99900, "discriminator")
    reporter.send(Datagram(0, 100000, 1000.0, peers=peers))
    assert len(codec.loads(Datagram, inbox.recv(DATAGRAM_LIMIT)).peers.groups) == 1024
