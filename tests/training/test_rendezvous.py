"""Processes that meet at a store: threads here, the same code."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from designer_vision.pipeline.processes import free_port
from designer_vision.runtime.errors import ProcessSetupError
from designer_vision.training.ranks import Ranks
from designer_vision.training.rendezvous import Member, problem_of, received


def came(places: list[Ranks], facts: dict[int, dict[str, str]] | None = None) -> list[str]:
    """What each of some processes is told when they meet; empty where all is well."""

    stores = []  # rank 0's is there until all have heard

    def meet(number: int) -> str:
        try:
            stores.append(places[number].join(timedelta(seconds=3), (facts or {}).get(number, {"seed": "1"})))
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


def outline(*parts: tuple[int, str, str]) -> str:
    return json.dumps({"images": sum(count for count, _, _ in parts), "parts": parts}, separators=(",", ":"))


@pytest.mark.parametrize(
    ("own", "told"),
    [
        (outline((1, "a.jpg", "x"), (1, "b.jpg", "x")), "rank 1 has 2 training images, rank 0 has 20"),
        (outline((10, "a.jpg", "y"), (10, "k.jpg", "x")), "the first that differs is one of 10 from a.jpg on of rank 1"),
        (outline((10, "a.jpg", "x"), (10, "k.jpg", "y")), "the first that differs is one of 10 from k.jpg on of rank 1"),
    ],
)
def test_ranks_with_other_images_are_told_how_many_they_have_or_where_they_differ(own: str, told: str) -> None:
    whole = outline((10, "a.jpg", "x"), (10, "k.jpg", "x"))
    arrivals = [Member(rank, 2, "0", {"training images": text}) for rank, text in enumerate((whole, own))]
    said = problem_of(arrivals[1], {0: arrivals[0]}, 2)
    assert told in said
    assert said.endswith("; start all with the same inputs and packages")


def test_f61_what_another_version_of_the_package_tells_besides_is_passed_over() -> None:
    told = json.dumps({"rank": 1, "world_size": 2, "node": "0", "facts": {"version": "9"}, "news": 1}).encode()
    assert received(Member, told) == Member(1, 2, "0", {"version": "9"})


def test_f54_those_that_did_not_come_are_counted() -> None:
    for told in came(places((0, 3), (2, 3))):
        assert told.startswith("2 of 3 processes came within 3 s, missing rank 1")


@pytest.mark.parametrize("failing", [0, 1])
def test_a_rank_that_failed_before_it_came_is_told_to_the_others(failing: int) -> None:
    both = places((0, 2), (1, 2))
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(came, [both[1 - failing]])
        pool.submit(both[failing].tell_failure, "3.png is no image")
        assert waiting.result() == [f"rank {failing} failed: 3.png is no image"]


def test_a_name_that_no_resolver_knows_is_told_at_once() -> None:
    place = Ranks(1, 2, 1, "0", "no-such-node.invalid", 29500)
    with pytest.raises(ProcessSetupError, match=r"no resolver knows the name 'no-such-node\.invalid' that MASTER_ADDR gives"):
        place.join(timedelta(hours=1), {})


def test_a_machines_own_name_is_no_loopback_whatever_it_leads_to_there() -> None:
    assert Ranks(main_address="127.0.0.1").is_on_loopback
    assert Ranks(main_address="localhost").is_on_loopback
    assert not Ranks(main_address=socket.gethostname()).is_on_loopback
