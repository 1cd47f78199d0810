from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch

from designer_vision.pipeline.processes import free_port
from designer_vision.runtime.errors import ProcessSetupError
from designer_vision.training.ranks import Ranks

AZURE = {"MASTER_ADDR": "10.0.0.4", "MASTER_PORT": "6105", "WORLD_SIZE": "8", "NODE_RANK": "1", "RANK": "6", "LOCAL_RANK": "2"}
MPI = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "AZ_BATCH_MASTER_NODE": "10.0.0.5:6000",
}


def test_azures_variables_are_read() -> None:
    assert Ranks.from_environment(AZURE) == Ranks(6, 8, 2, "1", "10.0.0.4", 6105)


def test_mpis_variables_stand_in() -> None:
    assert Ranks.from_environment(MPI) == Ranks(3, 4, 1, socket.gethostname(), "10.0.0.5", 29500)
    assert Ranks.from_environment(MPI | {"MASTER_PORT": "6105"}).main_port == 6105


def test_torchruns_own_store_is_taken_anew_after_each_restart() -> None:
    torchrun = AZURE | {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "2"}
    assert Ranks.from_environment(torchrun).attempt == "2"
    assert Ranks.from_environment(torchrun | {"TORCHELASTIC_USE_AGENT_STORE": "False"}).attempt == ""


def test_azures_variables_come_before_mpis() -> None:
    assert Ranks.from_environment(AZURE | MPI).rank == 6


def test_without_variables_a_process_is_alone() -> None:
    assert Ranks.from_environment({}) == Ranks(0, 1, 0)


@pytest.mark.parametrize(
    "changed",
    [
        {"RANK": "8"},
        {"RANK": "-1"},
        {"RANK": "x"},
        {"WORLD_SIZE": "0"},
        {"WORLD_SIZE": ""},
        {"LOCAL_RANK": "9"},
        {"MASTER_PORT": "http"},
        {"MASTER_PORT": "70000"},
    ],
)
def test_f56_a_variable_that_makes_no_sense_is_refused_by_name(changed: dict[str, str]) -> None:
    with pytest.raises(ProcessSetupError, match="|".join(changed)):
        Ranks.from_environment(AZURE | changed)


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(ProcessSetupError, match="RANK is not set"):
        Ranks.from_environment({"WORLD_SIZE": "2"})


def test_case_150_more_processes_than_gpus_is_said_in_those_words() -> None:
    ranks = Ranks(rank=4, world_size=16, local_rank=4, local_world_size=8)
    with pytest.raises(ProcessSetupError, match="process_count_per_instance 8 is larger than the 4 GPUs of this node"):
        ranks.device(gpus=4)


def test_each_process_has_its_gpu_or_the_cpu() -> None:
    assert Ranks(2, 4, 2).device(gpus=4) == torch.device("cuda", 2)
    assert Ranks(2, 4, 2).device(gpus=0) == torch.device("cpu")


@pytest.mark.parametrize(("nodes", "expected"), [(["0", "0", "0", "1"], [3, 3, 3, 1]), (["a", "b", "a", "b"], [2, 2, 2, 2])])
def test_processes_count_their_node_when_they_meet(nodes: list[str], expected: list[int]) -> None:
    port = free_port()
    places = [Ranks(rank, len(nodes), 0, node, "127.0.0.1", port) for rank, node in enumerate(nodes)]

    with ThreadPoolExecutor(len(nodes)) as pool:
        met = list(pool.map(lambda place: place.join(timedelta(seconds=20), {}), places))
    assert [ranks.local_world_size for _, ranks in met] == expected


def test_a_rank_that_nobody_answers_says_where_it_waited() -> None:
    place = Ranks(1, 2, 1, "0", "127.0.0.1", free_port())
    with pytest.raises(ProcessSetupError, match=rf"rank 1 could not join the 2 processes at 127\.0\.0\.1:{place.main_port}"):
        place.join(timedelta(seconds=1), {})


def test_f58_variables_that_contradict_each_other_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert Ranks.from_environment(AZURE | MPI).rank == 6
    said = capsys.readouterr().out
    assert "warning: RANK is 6 and OMPI_COMM_WORLD_RANK is 3; RANK is used" in said
    assert "warning: WORLD_SIZE is 8 and OMPI_COMM_WORLD_SIZE is 4; WORLD_SIZE is used" in said
