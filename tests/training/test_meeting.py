"""Processes that meet at a store: threads here, the same code."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from torch.distributed import TCPStore

from designer_vision.errors import InvalidDatasetError, ProcessSetupError
from designer_vision.pipeline.processes import free_port
from designer_vision.training.meeting import tell_failure, who_is_lost
from designer_vision.training.ranks import Ranks


def came(places: list[Ranks], facts: dict[int, dict[str, str]] | None = None) -> list[str]:
    """What each of some processes is told when they meet; empty where all is well."""

    stores = []  # rank 0's is there until all have heard

    def meet(number: int) -> str:
        try:
            stores.append(places[number].meet(timedelta(seconds=3), (facts or {}).get(number, {"seed": "1"})))
        except ProcessSetupError as error:
            return error.message
        return ""

    with ThreadPoolExecutor(len(places)) as pool:
        return list(pool.map(meet, range(len(places))))


def places(*ranks_and_sizes: tuple[int, int]) -> list[Ranks]:
    port = free_port()
    return [Ranks(rank, size, rank, "0", "127.0.0.1", port) for rank, size in ranks_and_sizes]


def test_ranks_that_were_given_the_same_meet() -> None:
    assert came(places((0, 2), (1, 2))) == ["", ""]


def test_f57_another_world_size_is_named_on_every_rank() -> None:
    for told in came(places((0, 2), (1, 3))):
        assert told == "rank 1 was started with WORLD_SIZE 3, rank 0 with 2"


def test_f57_a_rank_that_is_there_twice_is_named() -> None:
    told = came(places((0, 3), (1, 3), (1, 3)))
    assert set(told) == {"two processes were started with RANK 1"}


def test_case_142_f60_f61_what_differs_is_named_with_both_values() -> None:
    for told in came(places((0, 2), (1, 2)), {1: {"seed": "2"}}):
        assert told in (
            "rank 1 has seed 2, rank 0 has 1; start all with the same inputs and packages",
            "rank 0 has seed 1, rank 1 has 2; start all with the same inputs and packages",
        )


def test_f54_those_that_did_not_come_are_counted() -> None:
    for told in came(places((0, 3), (2, 3))):
        assert told.startswith("2 of 3 processes came within 3 s, missing rank 1")


def store() -> TCPStore:
    return TCPStore("127.0.0.1", free_port(), None, True, timedelta(seconds=5), wait_for_workers=False)


def test_the_first_rank_to_fail_is_the_one_that_the_others_tell_of() -> None:
    meeting = store()
    tell_failure(meeting, 2, InvalidDatasetError("3.png is no image"))
    tell_failure(meeting, 1, InvalidDatasetError("another"))
    told = who_is_lost(meeting, 0, 3, timedelta(seconds=8), RuntimeError("Connection closed by peer"))
    assert told == "rank 2 failed: 3.png is no image"


def test_ranks_that_do_not_answer_a_roll_call_are_named() -> None:
    meeting = store()
    meeting.set("here 2", "")
    assert who_is_lost(meeting, 0, 4, timedelta(seconds=8), RuntimeError("Timed out waiting 8000ms")).startswith(
        "rank 1, 3 has not answered for 8 s"
    )


def test_a_connection_that_breaks_between_ranks_that_are_all_there_is_told() -> None:
    meeting = store()
    meeting.set("here 1", "")
    told = who_is_lost(meeting, 0, 2, timedelta(seconds=8), RuntimeError("Connection reset by peer\nand more"))
    assert told == "all ranks are there, but their connection broke: Connection reset by peer"


def test_without_a_store_the_main_rank_is_the_one_that_ended() -> None:
    class Gone:
        def set_timeout(self, timeout: timedelta) -> None:
            raise RuntimeError("Broken pipe")

    assert who_is_lost(Gone(), 1, 2, timedelta(seconds=8), RuntimeError("Connection closed")).startswith("rank 0 ended; ")
