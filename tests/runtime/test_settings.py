from __future__ import annotations

from datetime import timedelta

import pytest

from designer_vision.runtime.errors import ParameterParsingError
from designer_vision.runtime.settings import Settings


def test_without_variables_the_program_chooses() -> None:
    assert Settings.from_environment({}) == Settings(
        None,
        None,
        None,
        None,
        timedelta(minutes=30),
        timedelta(minutes=10),
        timedelta(minutes=2),
        silence_timeout=timedelta(minutes=1),
    )


def test_the_operators_variables_are_read() -> None:
    variables = {
        "DESIGNER_VISION_PRECISION": "float32",
        "DESIGNER_VISION_DATA_WORKERS": "0",
        "DESIGNER_VISION_CACHE_MB": "500",
        "DESIGNER_VISION_DISK_CACHE_MB": "9000",
        "DESIGNER_VISION_START_TIMEOUT": "60",
        "DESIGNER_VISION_PROCESS_GROUP_TIMEOUT": "30",
        "DESIGNER_VISION_CHECKPOINT_SECONDS": "0",
        "DESIGNER_VISION_COMPILE": "1",
    }
    seconds = [timedelta(seconds=number) for number in (60, 30, 0)]
    assert Settings.from_environment(variables) == Settings(
        "float32", 0, 500, 9000, *seconds, compiled=True, silence_timeout=timedelta(seconds=30)
    )
    assert Settings.from_environment(variables).patience == timedelta(seconds=15)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PRECISION", "half"), ("DATA_WORKERS", "-1"), ("DATA_WORKERS", "1.5"), ("CACHE_MB", "all"), ("DATA_WORKERS", "２"), ("PROCESS_GROUP_TIMEOUT", "0"),
     ("PROCESS_GROUP_TIMEOUT", "")],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ParameterParsingError, match=f"DESIGNER_VISION_{name} is '{value}', expected"):
        Settings.from_environment({f"DESIGNER_VISION_{name}": value})
