from __future__ import annotations

import dataclasses
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
import yaml

from designer_vision.formats.model_directory import Model, read_model_directory, read_spec, untrained, write_model_directory
from designer_vision.inference.scoring import Scorer
from designer_vision.networks import builders
from designer_vision.networks.architectures import Architecture
from designer_vision.runtime.errors import InvalidModelDirectoryError

CLASSIC = "azureml.designer.modules.dl.pytorch.initialize_models.vision.classification"
CLASSIC_SPEC = f"""
flavor: {{name: pytorch, serialization_method: state_dict}}
model_file: model
time_created: 2026-11-23T02:45:04.894623+0000
flavor_extras:
  module: {CLASSIC}.resnet
  class: ResNet
  is_cuda: false
  init_params: {{model_name: resnet18, pretrained: true, zero_init_residual: false, num_classes: 3}}
task_type: MultiClassification
label_map_file: index_to_label.csv
inputs:
- name: image
  pre_processor:
    module: azureml.designer.core.model.model_spec.builtin_model_meta.pre_processor
    class: ImageNormalizer
    init_params: {{mean: [0.1, 0.2, 0.3], std: [0.4, 0.5, 0.6]}}
"""


def write_classic(folder: Path, spec: str = CLASSIC_SPEC, state: object = None, labels: str = ",label\n0,c\n1,a\n2,b\n") -> Path:
    """A trained, pretrained model as the classic module writes it: two heads; made without our writer."""
    if state is None:
        network = builders.build(Architecture("resnet18"), 1000, seed=1)
        state = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
        state |= {"out_linear_model.weight": torch.ones(3, 1000), "out_linear_model.bias": torch.arange(3.0)}
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / "model")
    (folder / "model_spec.yaml").write_text(spec)
    (folder / "index_to_label.csv").write_text(labels)
    (folder / "_meta.yaml").write_text(yaml.safe_dump({"type": "ModelDirectory", "extension": {}, "model": "model_spec.yaml"}))
    return folder


def trained(classes: int = 3) -> Model:
    network = builders.build(Architecture("resnet18"), classes, seed=2)
    return Model(
        Architecture("resnet18"),
        network.state_dict(),
        labels=tuple(f"class, {number}" for number in range(classes)),
        mean=builders.IMAGENET_MEAN,
        std=builders.IMAGENET_STD,
        operations=[["Resize", 64]],
        size=(64, 64),
        training={"epochs": 3},
    )


def test_a_trained_model_is_read_back(tmp_path: Path) -> None:
    written = trained()
    write_model_directory(tmp_path, written)
    read = read_model_directory(tmp_path)
    assert dataclasses.replace(read, weights={}) == dataclasses.replace(written, weights={})
    assert all(torch.equal(read.weights[name], tensor) for name, tensor in written.weights.items())
    assert read.network()(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


def test_a_classic_reader_finds_its_names(tmp_path: Path) -> None:
    write_model_directory(tmp_path, trained())
    spec = yaml.safe_load((tmp_path / "model_spec.yaml").read_text())
    assert spec["flavor_extras"]["module"] == f"{CLASSIC}.resnet"
    assert spec["flavor_extras"]["init_params"] == {
        "model_name": "resnet18", "pretrained": False, "zero_init_residual": False, "num_classes": 3,
    }  # fmt: skip
    assert spec["inputs"][0]["pre_processor"]["init_params"]["mean"] == list(builders.IMAGENET_MEAN)
    assert (tmp_path / "index_to_label.csv").read_text() == ',label\n0,"class, 0"\n1,"class, 1"\n2,"class, 2"\n'
    assert all(name.startswith("model.") for name in torch.load(tmp_path / "model", weights_only=True))


def test_a_classic_scorer_that_knows_no_temperature_gives_the_same_labels(tmp_path: Path) -> None:
    write_model_directory(tmp_path, replace(trained(), temperature=1.7))
    params = yaml.safe_load((tmp_path / "model_spec.yaml").read_text())["flavor_extras"]["init_params"]
    assert (params.pop("model_name"), params.pop("pretrained")) == ("resnet18", False)
    classic = torchvision.models.resnet18(**params).eval()
    weights = torch.load(tmp_path / "model", weights_only=True)
    classic.load_state_dict({name.removeprefix("model."): tensor for name, tensor in weights.items()})
    images = torch.randint(0, 256, (20, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(values)[:, None, None] for values in (builders.IMAGENET_MEAN, builders.IMAGENET_STD))
    with torch.inference_mode():
        found = classic((images / 255 - mean) / std).softmax(dim=1).numpy()
    ours = Scorer(read_model_directory(tmp_path), torch.device("cpu"), torch.float32)(images)
    assert (found.argmax(axis=1) == ours.argmax(axis=1)).all()
    assert (found.max(axis=1) > ours.max(axis=1)).all()  # a temperature above 1 makes a network less certain


def test_an_untrained_densenet_has_no_labels_and_its_own_parameters(tmp_path: Path) -> None:
    write_model_directory(tmp_path, untrained(Architecture("densenet121", memory_efficient=True), pretrained=False))
    spec = yaml.safe_load((tmp_path / "model_spec.yaml").read_text())
    assert spec["flavor_extras"]["class"] == "DenseNet"
    assert spec["flavor_extras"]["init_params"] == {"model_name": "densenet121", "pretrained": False, "memory_efficient": True}
    assert "inputs" not in spec
    assert "label_map_file" not in spec
    read = read_model_directory(tmp_path)
    assert (read.is_trained, read.architecture.memory_efficient) == (False, True)


def test_a_classic_pretrained_model_keeps_its_indices_and_gets_one_head(tmp_path: Path) -> None:
    model = read_model_directory(write_classic(tmp_path))
    assert model.labels == ("c", "a", "b")
    assert (model.mean, model.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert model.operations is None
    assert model.weights["fc.weight"].shape == (3, 512)
    logits = model.network().eval()(torch.zeros(1, 3, 32, 32))
    assert torch.allclose(logits[0].diff(), torch.ones(2), atol=1e-3)


MODULES = [
    ("os", "system"), ("subprocess", "Popen"), ("builtins", "exec"), ("torch", "load"), ("torchvision.models", "__loader__"),
    ("torchvision.models", "resnet18"), ("model", "Harm"), ("../model", "x"), ("", ""), (f"{CLASSIC}.resnet", "DenseNet"),
    (f"{CLASSIC}.densenet", "ResNet"), (f"{CLASSIC}.resnet", "__class__"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "class_name"), MODULES)
def test_case_30_a_module_or_class_that_is_not_in_the_closed_table_is_refused(module: str, class_name: str) -> None:
    spec = CLASSIC_SPEC.replace(f"{CLASSIC}.resnet", module or "''").replace("class: ResNet", f"class: '{class_name}'")
    with pytest.raises(InvalidModelDirectoryError, match="expected a network made by ResNet"):
        read_spec(Path("model_spec.yaml"), spec.encode())


@pytest.mark.parametrize("name", ["os.system", "densenet121", "resnet19", "vit_b_16", "", "../x", "resnet18 "])
def test_case_30_a_network_that_is_not_in_the_closed_table_is_refused(name: str) -> None:
    with pytest.raises(InvalidModelDirectoryError, match="expected a network made by ResNet"):
        read_spec(Path("model_spec.yaml"), CLASSIC_SPEC.replace("resnet18", f"'{name}'").encode())


BAD_SPECS = [
    *(("num_classes: 3", f"num_classes: {value}") for value in ("0", "-1", "1000000000", "true", '"2"', ".nan", "2.5", "[1]")),
    *(("num_classes: 3", f"num_classes: 3, {more}") for more in ("progress: true", "weights: DEFAULT", "x: 1", "num_classes: 4")),
    ("pretrained: true", "pretrained: 1"), ("pretrained: true", "pretrained: 'yes'"), ("pretrained: true", "pretrained: DEFAULT"),
    ("zero_init_residual: false", "zero_init_residual: 3"), ("mean: [0.1, 0.2, 0.3]", "mean: [0.1, 0.2]"),
    ("mean: [0.1, 0.2, 0.3]", "mean: [.nan, 0, 0]"), ("mean: [0.1, 0.2, 0.3]", "mean: [1e9, 0, 0]"),
    ("std: [0.4, 0.5, 0.6]", "std: [0, 1, 1]"), ("std: [0.4, 0.5, 0.6]", "std: [-1, 1, 1]"), ("std: [0.4, 0.5, 0.6]", "std: [.inf, 1, 1]"),
    ("std: [0.4, 0.5, 0.6]", "std: 1"), ("class: ImageNormalizer", "class: system"), ("flavor: {name: pytorch", "flavor: {name: sklearn"),
    ("serialization_method: state_dict", "serialization_method: pickle"), ("flavor: {name: pytorch, serialization_method: state_dict}", ""),
    ("model_file: model", "model_file: [model]"), ("model_file: model", ""), ("flavor_extras:", "flavor_extra:"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), BAD_SPECS)
def test_case_31_44_a_spec_that_is_not_one_is_refused_with_its_field(old: str, new: str) -> None:
    assert old in CLASSIC_SPEC
    with pytest.raises(InvalidModelDirectoryError, match=r"^model_spec\.yaml(: .*(at `\$|field|twice|line)| has)"):
        read_spec(Path("model_spec.yaml"), CLASSIC_SPEC.replace(old, new).encode())


def test_case_42_numbers_may_be_written_with_an_exponent() -> None:
    *_, normalizer = read_spec(Path("x"), CLASSIC_SPEC.replace("[0.1, 0.2, 0.3]", "[1e-1, 2E-1, 3]").encode())
    assert normalizer.mean == (0.1, 0.2, 3.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../model", "not the name of a file"), ("/etc/passwd", "not the name of a file"), ("other", "is missing"), (".", "not the name"),
        ("folder", "is a folder"), ("pipe", "is a pipe"), ("outside", "a link that points outside"), ("file:///model", "is missing"),
        ("\\\\srv\\x", "is missing"),
    ],
)  # fmt: skip
def test_case_27_43_the_weights_are_a_plain_file_inside(tmp_path: Path, name: str, message: str) -> None:
    folder = write_classic(tmp_path / "classic", CLASSIC_SPEC.replace("model_file: model", f"model_file: '{name}'"), state={})
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "outside").symlink_to("/dev/zero")
    with pytest.raises(InvalidModelDirectoryError, match=message):
        read_model_directory(folder)


def test_a_number_of_classes_that_is_not_that_of_the_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelDirectoryError, match="has num_classes 3, and label_map_file has 2 labels"):
        read_model_directory(write_classic(tmp_path, state={}, labels=",label\n0,c\n1,a\n"))


def test_case_14_a_classic_model_has_no_hash_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_model_directory(write_classic(tmp_path))
    assert "warning: no hash of" in capsys.readouterr().out


def test_a_recorded_transformation_that_is_none_is_refused(tmp_path: Path) -> None:
    write_model_directory(tmp_path, trained())
    text = (tmp_path / "_meta.yaml").read_text()
    for old, new, message in (
        ("- Resize", "- os.system", "not an operation we know"),
        ("- 64\n    - 64", "- 0\n    - 64", "size"),
    ):
        assert old in text
        (tmp_path / "_meta.yaml").write_text(text.replace(old, new))
        with pytest.raises(InvalidModelDirectoryError, match=message):
            read_model_directory(tmp_path)


@pytest.mark.parametrize("temperature", [".nan", ".inf", "0", "-1.5", "warm", "1000000", "true", "[2.0]"])
def test_a_temperature_that_is_none_is_refused(tmp_path: Path, temperature: str) -> None:
    write_model_directory(tmp_path, replace(trained(), temperature=1.75))
    assert read_model_directory(tmp_path).temperature == 1.75
    text = (tmp_path / "_meta.yaml").read_text()
    assert "temperature: 1.75" in text
    (tmp_path / "_meta.yaml").write_text(text.replace("temperature: 1.75", f"temperature: {temperature}"))
    with pytest.raises(InvalidModelDirectoryError, match="temperature"):
        read_model_directory(tmp_path)


def test_a_temperature_of_an_untrained_model_is_refused(tmp_path: Path) -> None:
    write_model_directory(tmp_path, replace(untrained(Architecture("resnet18"), pretrained=False), temperature=2.0))
    with pytest.raises(InvalidModelDirectoryError, match="temperature of 2 for an untrained model, expected none"):
        read_model_directory(tmp_path)


def test_a_temperature_of_one_leaves_no_trace(tmp_path: Path) -> None:
    write_model_directory(tmp_path, trained())
    assert "temperature" not in (tmp_path / "_meta.yaml").read_text()


class Attack:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("attacked",)


@pytest.mark.parametrize("kind", ["zip", "legacy", "raw"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_classic(tmp_path, state={})
    if kind == "raw":
        (tmp_path / "model").write_bytes(pickle.dumps(Attack()))
    else:
        torch.save({"model.fc.weight": Attack()}, tmp_path / "model", _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(InvalidModelDirectoryError):
        read_model_directory(tmp_path)
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ([1], "holds a list"),
        ({"model.fc.weight": torch.zeros(3, 512)}, "missing"),
        ({"optimizer": {}}, "not a state_dict of tensors: 'optimizer' is a dict"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, state: object, message: str) -> None:
    with pytest.raises(InvalidModelDirectoryError, match=message):
        read_model_directory(write_classic(tmp_path, state=state))


def test_weights_of_another_shape_or_not_finite_are_refused_by_key(tmp_path: Path) -> None:
    model = trained()
    weights = dict(model.weights)
    weights["fc.bias"] = torch.full((3,), torch.nan)
    write_model_directory(tmp_path / "nan", dataclasses.replace(model, weights=weights))
    with pytest.raises(InvalidModelDirectoryError, match=r"fc\.bias has values that are not finite"):
        read_model_directory(tmp_path / "nan")
    weights["fc.bias"] = torch.zeros(4)
    write_model_directory(tmp_path / "shape", dataclasses.replace(model, weights=weights))
    with pytest.raises(InvalidModelDirectoryError, match=r"fc\.bias \[4\] \(expected \[3\]\)"):
        read_model_directory(tmp_path / "shape")


def test_case_14_one_flipped_bit_in_the_weights_is_noticed(tmp_path: Path) -> None:
    write_model_directory(tmp_path, trained())
    content = bytearray((tmp_path / "model").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(InvalidModelDirectoryError, match="hash differs"):
        read_model_directory(tmp_path)


@pytest.mark.parametrize(
    "labels",
    [
        "",
        ",label\n",
        ",label\n0,a\n2,b\n",
        ",label\nx,a\n",
        ",label\n0,a\n0,b\n",
        ",label\n0,a\n1,a\n",
        ",label\n0, \n1,b\n",
        ",label\n０,a\n",
        ",label\n0\n",
        ",label\n0,a,b\n",
        "\0",
        '"',
        ",label\n-1,a\n0,b\n",
    ],
)
def test_a_label_map_that_is_not_one_is_refused(tmp_path: Path, labels: str) -> None:
    with pytest.raises(InvalidModelDirectoryError, match=r"index_to_label\.csv"):
        read_model_directory(write_classic(tmp_path, labels=labels))
