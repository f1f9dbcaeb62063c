"""NaN at sampler positions, on a real cluster: one job heals by roll-back, another fails within its budgets.

Both are run at once, from the trainer's image; the fault hook comes out of a ConfigMap.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from bed.cluster import Bed
from click.testing import CliRunner
from product import jobs
from product.installed import Namespace, Object

from speech_cli.main import cli
from speech_contract import env, outcome
from speech_contract.reasons import State

HEALS, FAILS = "heals", "fails"
STEPS, BATCH = 24, 4
MODULE = Path(__file__).with_name("roll_back_faults.py")
MOUNT = "/opt/faults"

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def job(name: str, first: int, last: int, **spec: object) -> Object:
    """One pod; NaN at the positions of these steps of a quiet run. It saves every five steps."""
    made = jobs.vits(name, steps=STEPS, nodes=1, cpu="1", **spec)
    inner = made["spec"]
    inner["training"] |= {"logEverySteps": 1, "globalBatchSize": BATCH}
    inner["checkpoint"]["everySteps"] = 5
    inner["strategicLogging"] = {"enabled": False}
    inner["health"] = {"nonFinite": {"confirmSteps": 3, "maxRollbacks": 1}}
    inner["runPolicy"] = {"restarts": {"max": 1, "sameCause": 9}}
    del inner["data"]["validation"]
    positions = f"{(first - 1) * BATCH}:{last * BATCH}"
    inner["trainer"]["env"] = [
        {"name": "PYTHONPATH", "value": MOUNT},
        {"name": env.WRAP_RECIPE, "value": f"{MODULE.stem}:nan"},
        {"name": "FAULT_POSITIONS", "value": positions},
    ]
    inner["trainer"]["volumeMounts"].append(
        {"name": "faults", "mountPath": MOUNT, "readOnly": True}
    )
    inner["pod"]["volumes"].append({"name": "faults", "configMap": {"name": "faults"}})
    return made


@dataclass(frozen=True)
class Stories:
    """Both ends, and what `why` says of them."""

    heals: Object
    fails: Object
    why: dict[str, Object]
    said: dict[str, list[str]]


@pytest.fixture(scope="module")
def stories(speech: Namespace) -> Stories:
    speech.apply(
        {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "faults"},
            "data": {MODULE.name: MODULE.read_text(encoding="utf-8")},
        }
    )  # fmt: skip
    speech.apply(job(HEALS, 12, 15))  # four: the budget is spent with the last of them
    speech.apply(job(FAILS, 12, 4000))
    heals = speech.until_state(HEALS, State.COMPLETE)
    fails = speech.until_state(FAILS, State.FAILED)
    told = {name: json.loads(why(speech.bed, name, "-o", "json")) for name in (HEALS, FAILS)}
    said = {name: why(speech.bed, name).splitlines() for name in (HEALS, FAILS)}
    return Stories(heals, fails, told, said)


def why(bed: Bed, name: str, *words: str) -> str:
    """`speechtrain why NAME`, in this cluster."""
    options = ["--kubeconfig", str(bed.kubeconfig), "-n", "speech", *words]
    answer = CliRunner().invoke(cli, ["why", name, *options])
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_it_heals_and_says_what_it_cost(stories: Stories) -> None:
    status = stories.heals
    assert (status["attempt"], status["restarts"]["counted"]) == (1, 0)
    progress = status["progress"]
    assert progress["step"] == STEPS
    assert progress["rollbacks"] == 1
    assert progress["discardedSteps"] >= 5
    (finding,) = [f for f in status["health"]["findings"] if f["rule"] == "NonFinite"]
    assert (finding["severity"], finding["action"]) == ("warning", "RolledBack")


def test_it_fails_within_its_budgets_and_never_goes_on_from_a_bad_place(stories: Stories) -> None:
    status = stories.fails
    assert status["failure"]["reason"] == "RestartBudgetSpent"
    first, second = status["attempts"]
    assert (first["exitCode"], second["exitCode"]) == (outcome.EXIT_NON_FINITE,) * 2
    assert second["resumedFromStep"] == 5  # the newest that was confirmed before step 12
    assert status["progress"]["rollbacks"] == 2
    assert (
        status["progress"]["discardedSteps"] == first["discardedSteps"] + second["discardedSteps"]
    )


@pytest.mark.parametrize("name", [HEALS, FAILS])
def test_why_tells_it_in_five_lines(stories: Stories, name: str) -> None:
    names = [line[:10].strip() for line in stories.said[name][1:]]
    rule = "finding" if name == HEALS else "rule"
    wanted = ["attempts", "back", rule, "next"]
    assert [n for n in names if n in wanted and n] == wanted, stories.said[name]
    answer = stories.why[name]
    assert (answer["rollbacks"], answer["confirmedStep"]) in ((1, 20), (2, 5))
