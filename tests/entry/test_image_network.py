from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import run_entry, training_flags

from designer_vision.formats.data_frame_directory import read_data_frame_directory
from designer_vision.formats.model_directory import Model, read_model_directory, write_model_directory
from designer_vision.networks import builders
from designer_vision.networks.architectures import Architecture
from designer_vision.runtime.errors import InvalidModelDirectoryError


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "convnext_tiny"])
def test_a_network_is_made_trained_and_scored_with(name: str, datasets: tuple[Path, Path], tmp_path: Path) -> None:
    made = run_entry("image_network", model_name=name, pretrained="False", untrained_model=tmp_path / "untrained")
    assert made.returncode == 0, made.stderr
    assert f"{name} with random weights" in made.stdout
    spec = yaml.safe_load((tmp_path / "untrained" / "model_spec.yaml").read_text())["flavor_extras"]
    assert (spec["module"].rpartition(".")[2], spec["class"]) == (name, "ImageNetwork")
    trained = run_entry(
        "train_pytorch_model", **training_flags(tmp_path / "untrained", *datasets, tmp_path / "out", batch_size=18)
    )
    assert trained.returncode == 0, trained.stderr
    assert ("optimizer: AdamW at 0.1 times learning_rate" in trained.stdout) == (name == "convnext_tiny")
    model = read_model_directory(tmp_path / "out")
    assert (model.architecture.model_name, model.labels) == (name, ("blue", "green", "red"))
    flags = {"trained_model": tmp_path / "out", "dataset": datasets[1], "threshold": 0, "scored_dataset": tmp_path / "scored"}
    scored = run_entry("score_image_model", **flags)
    assert scored.returncode == 0, scored.stderr
    assert np.allclose(read_data_frame_directory(tmp_path / "scored").probabilities.sum(axis=1), 1)


def test_a_new_head_is_put_where_the_network_has_its_last_layer(tmp_path: Path) -> None:
    run_entry("image_network", model_name="mobilenet_v3_small", pretrained="False", untrained_model=tmp_path / "untrained")
    model = read_model_directory(tmp_path / "untrained")
    network = model.network()
    builders.replace_head(network, 5)
    assert network.state_dict()["classifier.3.weight"].shape == (5, 1024)


def test_a_stranger_who_claims_a_second_head_is_refused(tmp_path: Path) -> None:
    """Only classic models of ResNet and DenseNet have one."""
    architecture = Architecture("mobilenet_v3_small")
    weights = builders.build(architecture, 1000, seed=1).state_dict() | builders.second_head(2)
    write_model_directory(tmp_path / "model", Model(architecture, weights, labels=("a", "b")))
    spec = tmp_path / "model" / "model_spec.yaml"
    spec.write_text(spec.read_text().replace("pretrained: false", "pretrained: true"))
    (tmp_path / "model" / "_meta.yaml").write_text("type: ModelDirectory\nmodel: model_spec.yaml\n")
    with pytest.raises(InvalidModelDirectoryError, match="out_linear_model"):
        read_model_directory(tmp_path / "model")
