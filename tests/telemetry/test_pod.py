"""Who this pod is: run config and environment read, refused with a sentence, handed on to the ranks."""

from __future__ import annotations

from pathlib import Path

import pytest

from speech_contract import codec, env
from speech_contract.errors import ContractError
from speech_contract.names import SUPERVISOR_PORT
from speech_telemetry.pod import address, default_config, load_pod, rank_environment


def load(config, environ=None, *, wrap=False):
    return load_pod(("python", "x.py"), environ or {}, codec.dumps(config), wrap=wrap)


def test_ranks_of_a_later_node(launcher):
    pod = load(launcher.config(nodes=3, ranks=4), {env.PET_NODE_RANK: "2", env.RANK: "1"})
    assert (pod.node_rank, pod.name, pod.is_master) == (2, "job-worker-1", False)
    assert pod.ranks == range(8, 12)


def test_without_pet_names_rank_is_the_node_rank(launcher):
    assert load(launcher.config(nodes=2), {env.RANK: "1"}).node_rank == 1


def test_a_wrapped_command_is_one_process(launcher):
    pod = load(launcher.config(nodes=2, ranks=4), {env.PET_NODE_RANK: "1"}, wrap=True)
    assert pod.ranks == range(4, 5)


@pytest.mark.parametrize(
    ("changes", "environ", "sentence"),
    [
        pytest.param({"num_nodes": 0, "supervisor_addresses": []}, {}, "numNodes: 0", id="no node"),
        pytest.param({"ranks_per_node": 0}, {}, "ranksPerNode: 0", id="no rank"),
        pytest.param({"supervisor_addresses": ["x"]}, {}, "write host:port", id="address"),
        pytest.param({"supervisor_addresses": []}, {}, "name one per node", id="addresses"),
        pytest.param({}, {env.PET_NODE_RANK: "1"}, "outside the job's 1 nodes", id="node rank"),
        pytest.param({}, {env.PET_NODE_RANK: "one"}, "is no whole number", id="no number"),
    ],
)
def test_what_makes_no_sense_is_refused(launcher, changes, environ, sentence):
    with pytest.raises(ContractError, match=sentence):
        load(launcher.config(**changes), environ)


def test_a_config_of_another_shape_names_the_field():
    with pytest.raises(ContractError, match="did you mean runDir"):
        load_pod(("x",), {}, '{"rundir": "/r"}', wrap=False)


@pytest.mark.parametrize(
    ("text", "parts"),
    [("job-master-0:9464", ("job-master-0", 9464)), ("[::1]:80", ("::1", 80))],
)
def test_addresses(text, parts):
    assert address(text) == parts


def test_torchruns_environment_is_config_enough():
    config = default_config(
        {env.PET_NNODES: "2", env.PET_NPROC_PER_NODE: "8", env.MASTER_ADDR: "asr-master-0", env.MASTER_PORT: "23456"}
    )  # fmt: skip
    assert (config.world_size, config.master_address, config.master_port) == (
        16,
        "asr-master-0",
        23456,
    )
    assert config.supervisor_addresses == [f"asr-master-0:{SUPERVISOR_PORT}"] * 2


def test_auto_is_one_rank():
    assert default_config({env.PET_NPROC_PER_NODE: "auto"}).ranks_per_node == 1


def test_a_rank_gets_torchs_names_over_the_pods(launcher):
    pod = load(launcher.config(nodes=2, ranks=2), {env.PET_NODE_RANK: "1"})
    given = rank_environment(pod, 3, {env.RANK: "1", "HOME": "/h"}, Path("/s"), "/p", Path("/e"))
    assert {name: given[name] for name in (env.RANK, env.LOCAL_RANK, env.WORLD_SIZE, env.GROUP_RANK)} == {
        env.RANK: "3", env.LOCAL_RANK: "1", env.WORLD_SIZE: "4", env.GROUP_RANK: "1"
    }  # fmt: skip
    assert (given["HOME"], given[env.RESUME_FROM], given["PYTHONFAULTHANDLER"]) == (
        "/h",
        "Newest",
        "1",
    )


def test_a_wrapped_command_keeps_the_pods_names(launcher):
    pod = load(launcher.config(ranks=2), wrap=True)
    given = rank_environment(pod, 0, {env.RANK: "0"}, Path("/s"), "/p-{rank}", Path("/e"))
    assert env.LOCAL_RANK not in given
    assert given[env.PHASE_FILE] == "/p-{rank}"
