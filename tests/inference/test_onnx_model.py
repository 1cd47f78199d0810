from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from designer_vision.data.transforms import EvaluationTransform, check, size_after
from designer_vision.formats.model_directory import Model
from designer_vision.inference.onnx_model import IMAGE, LABEL, OPSET, PIXELS, PROBABILITIES, _Preparation, onnx_model
from designer_vision.inference.scoring import Scorer, fit_for
from designer_vision.networks import builders
from designer_vision.networks.architectures import FAMILIES, Architecture
from designer_vision.runtime.errors import InvalidModelDirectoryError

SIZES = [(100, 140), (333, 201), (31, 45), (64, 64), (1, 90)]
OPERATIONS = [
    [["Resize", 64], ["CenterCrop", 56]],
    [["Resize", {"size": None, "max_size": 64}], ["CenterCrop", 64]],
    [["Resize", {"size": [40, 56]}]],
    [["CenterCrop", 61], ["Pad", {"padding": [1, 2]}]],
    [["Grayscale", 3], ["Resize", {"size": [64, 64], "antialias": False}], ["Pad", {"padding": [1, 2, 3, 4]}]],
]


def prepared(fit: EvaluationTransform, photos: np.ndarray) -> np.ndarray:
    """What the first part of the graph makes of photos [n, height, width, 3]."""
    preparation = _Preparation()
    preparation.fit(fit)
    graph = helper.make_graph(
        preparation.nodes,
        "preparation",
        [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["batch", "height", "width", 3])],
        [helper.make_tensor_value_info(PIXELS, TensorProto.FLOAT, ["batch", 3, *fit.size])],
        preparation.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    (pixels,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {IMAGE: photos})
    return pixels


@pytest.mark.parametrize("operations", OPERATIONS, ids=lambda operations: " ".join(name for name, _ in operations))
def test_a_photo_of_any_size_becomes_the_pixels_that_torchvision_makes_of_it(operations: list) -> None:
    fit = EvaluationTransform(check(operations, ""), size_after(operations, (100, 140)))
    for height, width in [*SIZES, fit.size]:
        photos = np.random.default_rng(height).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        try:
            expected = np.stack([fit(torch.from_numpy(photo).permute(2, 0, 1)).numpy() for photo in photos])
        except RuntimeError:  # less than a pixel would be left
            continue
        found = prepared(fit, photos)
        apart = np.abs(found - expected)
        assert found.shape == expected.shape
        assert apart.max() <= 1
        assert apart.mean() < 0.1  # of 255 levels
        assert apart.max() == 0 or "Resize" in str(operations)


@pytest.mark.parametrize(
    "operation", [["Resize", {"size": 32, "interpolation": "bicubic"}], ["Pad", {"padding": 1, "padding_mode": "edge"}]]
)
def test_an_operation_that_onnx_does_not_have_is_refused_by_name(operation: list) -> None:
    with pytest.raises(InvalidModelDirectoryError, match=rf"go through \['{operation[0]}', .*which has no like in ONNX"):
        _Preparation().fit(EvaluationTransform([operation], (32, 32)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [family.names[0] for family in FAMILIES])
def test_every_family_of_networks_has_the_scorers_probabilities(name: str) -> None:
    side = Architecture(name).family.only or 96
    weights = builders.build(Architecture(name), 3, seed=1).state_dict()
    operations = [["Resize", side + 8], ["CenterCrop", side]]
    model = Model(
        Architecture(name), weights, labels=("a", "ü", "c d"), operations=operations, size=(side, side), temperature=1.5
    )
    content = onnx_model(model)
    session = onnxruntime.InferenceSession(content.SerializeToString())
    scorer, fit = Scorer(model, torch.device("cpu"), torch.float32), fit_for(model)
    for height, width in [(side, side), (130, 200)]:
        coarse = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 3, 6, 6)).astype(np.float32))
        smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255).byte()
        photos = smooth.permute(0, 2, 3, 1).contiguous().numpy()  # as smooth as photos are: noise is resized to other levels
        expected = scorer(torch.stack([fit(torch.from_numpy(photo).permute(2, 0, 1)) for photo in photos]))
        found, labels = session.run([PROBABILITIES, LABEL], {IMAGE: photos})
        assert np.abs(found - expected).max() < 1e-3
        assert labels.tolist() == [model.labels[number] for number in found.argmax(axis=1)]
