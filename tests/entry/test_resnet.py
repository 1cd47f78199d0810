from __future__ import annotations

from pathlib import Path

import pytest
import torch

from designer_vision.entry import resnet
from designer_vision.formats.model_directory import read_model_directory
from designer_vision.networks import builders
from designer_vision.networks.architectures import Architecture


def test_an_untrained_network_is_written_and_always_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        resnet.write_untrained(Architecture("resnet18", zero_init_residual=True), False, None, tmp_path / name)
    first, second = (read_model_directory(tmp_path / name) for name in ("a", "b"))
    assert first.architecture == Architecture("resnet18", zero_init_residual=True)
    assert (first.pretrained, first.is_trained, first.mean) == (False, False, builders.PLAIN_MEAN)
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_pretrained_weights_travel_in_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = builders.build(Architecture("resnet18"), 1000, seed=9).state_dict()
    monkeypatch.setattr(builders, "fetch_pretrained", lambda name: state)
    resnet.write_untrained(Architecture("resnet18"), True, None, tmp_path / "out")
    model = read_model_directory(tmp_path / "out")
    assert (model.pretrained, model.mean, model.std) == (True, builders.IMAGENET_MEAN, builders.IMAGENET_STD)
    assert torch.equal(model.weights["fc.weight"], state["fc.weight"])


def test_a_trained_model_is_passed_on_as_it_is(trained_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resnet.write_untrained(Architecture("resnet50"), True, trained_model, tmp_path / "out")
    before, after = read_model_directory(trained_model), read_model_directory(tmp_path / "out")
    assert (after.architecture, after.labels, after.operations) == (before.architecture, before.labels, before.operations)
    assert all(torch.equal(after.weights[name], tensor) for name, tensor in before.weights.items())
    assert "resnet18 of" in capsys.readouterr().out
