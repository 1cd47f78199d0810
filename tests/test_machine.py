from __future__ import annotations

import time

import pytest

from designer_vision.machine import available_cpus, in_order


def test_results_come_in_order_however_long_each_takes() -> None:
    assert list(in_order(lambda number: time.sleep(0.02 * (number % 2)) or number, 9)) == list(range(9))


def test_an_error_passes_through() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise KeyError(number)
        return number

    with pytest.raises(KeyError):
        list(in_order(work, 5))


def test_there_is_a_cpu() -> None:
    assert available_cpus() >= 1
