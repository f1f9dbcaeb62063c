"""The phase record of a rank, as the supervisor reads it."""

from __future__ import annotations

import pytest

from speech_contract.phases import PHASES, Phase
from speech_contract.wire import PHASE_RECORD
from speech_telemetry.processes import read_phase

TRAINS = PHASES.index(Phase.TRAINING)
UPTIME = 86_400.0  # seconds: any machine that was not booted just now


@pytest.mark.parametrize(
    ("data", "read"),
    [
        pytest.param(PHASE_RECORD.pack(7, TRAINS, UPTIME - 2.0), (7, Phase.TRAINING, 2.0), id="a stamp"),
        pytest.param(PHASE_RECORD.pack(7, TRAINS, UPTIME + 1.0), (7, Phase.TRAINING, 0.0), id="just now"),
        pytest.param(bytes(PHASE_RECORD.size), None, id="made, not stamped yet"),
        pytest.param(PHASE_RECORD.pack(0, -1, UPTIME), None, id="no phase"),
        pytest.param(b"short", None, id="cut"),
    ],
)  # fmt: skip
def test_a_record_has_an_age_only_once_it_is_stamped(tmp_path, data, read):
    path = tmp_path / "rank-0.phase"
    path.write_bytes(data)
    assert read_phase(path, UPTIME) == read
