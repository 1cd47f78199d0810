from __future__ import annotations

from pathlib import Path

from conftest import run_entry

from designer_vision.formats.model_directory import read_model_directory
from designer_vision.networks.architectures import Architecture


def test_an_untrained_network_is_written(tmp_path: Path) -> None:
    result = run_entry(
        "densenet", model_name="densenet121", pretrained="False", memory_efficient="True", untrained_model=tmp_path
    )
    assert result.returncode == 0, result.stderr
    model = read_model_directory(tmp_path)
    assert model.architecture == Architecture("densenet121", memory_efficient=True)
    assert not model.is_trained
