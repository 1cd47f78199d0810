"""A trained model as one ONNX file: from the pixels of any photo to probabilities and a label, with nothing left to do outside.

The graph has three parts: the operations that take a photo to the network's input, written here with ONNX's own operators, since
their sizes follow from the photo's; the network with its normalisation, its temperature and the softmax, as torch exports it; and
the label, looked up among the names.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torchvision.transforms import v2

from designer_vision import __version__
from designer_vision.data.transforms import EvaluationTransform, Normalize, compose
from designer_vision.formats.model_directory import Model
from designer_vision.inference.scoring import fit_for
from designer_vision.runtime.errors import InvalidModelDirectoryError

OPSET = 20
IMAGE, PIXELS, PROBABILITIES, LABEL = "image", "pixels", "probabilities", "label"


def onnx_model(model: Model) -> onnx.ModelProto:
    """The model as ONNX.

    Its input `image` is uint8 [batch, height, width, 3], RGB, of any size; its outputs are `probabilities`, float
    [batch, classes], and `label`, text [batch].

    Raises:
        InvalidModelDirectoryError: an operation that the model recorded has no like in ONNX.
    """
    fit = fit_for(model)
    exported = _network(model, fit.size)
    prepare = _Preparation()
    prepare.fit(fit)
    labels = numpy_helper.from_array(np.array(model.labels, dtype=object), "labels")
    nodes = [
        *prepare.nodes,
        *exported.graph.node,
        helper.make_node("ArgMax", [PROBABILITIES], ["label_number"], axis=1, keepdims=0),
        helper.make_node("Gather", ["labels", "label_number"], [LABEL], axis=0),
    ]
    graph = helper.make_graph(
        nodes,
        "designer_vision",
        [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["batch", "height", "width", 3])],
        [
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["batch", len(model.labels)]),
            helper.make_tensor_value_info(LABEL, TensorProto.STRING, ["batch"]),
        ],
        [*prepare.constants, *exported.graph.initializer, labels],
    )
    whole = helper.make_model(graph, opset_imports=exported.opset_import, functions=exported.functions)
    whole.ir_version = exported.ir_version
    whole.producer_name, whole.producer_version = "designer_vision", __version__
    helper.set_model_props(
        whole,
        {
            "network": model.architecture.model_name,
            "labels": json.dumps(model.labels),
            "operations": json.dumps(fit.operations),
            "size": json.dumps(fit.size),
        },
    )
    onnx.checker.check_model(whole)
    return whole


class _Network(nn.Module):
    """Pixels as floats from 0 to 255, [n, 3, height, width], to probabilities [n, classes]."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.normalize, self.network = Normalize(model.mean, model.std), model.network()
        self.temperature = model.temperature

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.softmax(self.network(self.normalize(pixels)) / self.temperature, dim=1)


def _network(model: Model, size: tuple[int, int]) -> onnx.ModelProto:
    """The part that torch exports; it takes a size of images and any number of them."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(StringIO()):  # torch tells about its own parts
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Network(model).eval(),
            (torch.zeros(2, 3, *size),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[PIXELS],
            output_names=[PROBABILITIES],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


class _Preparation:
    """The nodes that make PIXELS of IMAGE, as EvaluationTransform does it with one image after another.

    Sizes are int64 vectors of one number, since they follow from the photo's. What is resized is rounded to whole levels, as with
    uint8.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._count = 0

    def fit(self, fit: EvaluationTransform) -> None:
        """Take a photo to the network's input; one that has its size already is taken as it is."""
        floats = self.add("Cast", IMAGE, to=TensorProto.FLOAT)
        image = self.add("Transpose", floats, perm=[0, 3, 1, 2])
        height, width = self.sides(image)
        is_fitting = self.add(
            "And",
            self.add("Equal", height, self.numbers(fit.size[0])),
            self.add("Equal", width, self.numbers(fit.size[1])),
        )
        before, self.nodes = self.nodes, []
        made = image
        for operation, module in zip(fit.operations, compose(fit.operations), strict=True):
            made = self.operation(operation, module, made)
        fitted = self.add("Identity", made)
        otherwise = helper.make_graph(self.nodes, "fit", [], [self._value(fitted)])
        self.nodes = []
        as_it_is = self.add("Identity", image)
        then = helper.make_graph(self.nodes, "as_it_is", [], [self._value(as_it_is)])
        self.nodes = before
        condition = self.add("Squeeze", is_fitting)
        chosen = self.add("If", condition, then_branch=then, else_branch=otherwise)
        shape = self.add("Concat", self.add("Shape", image, end=1), self.numbers(3, *fit.size), axis=0)
        self.nodes.append(helper.make_node("Reshape", [chosen, shape], [PIXELS]))

    def operation(self, operation: Sequence[Any], module: nn.Module, image: str) -> str:
        """One deterministic operation, as torchvision's module has it."""
        if isinstance(module, v2.Resize) and module.interpolation == "bilinear" and not (module.size and module.max_size):
            return self.resize(module, image)
        if isinstance(module, v2.CenterCrop):
            return self.center_crop(image, *module.size)
        if isinstance(module, v2.Pad) and module.padding_mode == "constant" and module.fill == 0:
            return self.pad(image, module.padding)
        if isinstance(module, v2.Grayscale):
            return self.grayscale(image)
        raise InvalidModelDirectoryError(
            f"the model's images go through {list(operation)}, which has no like in ONNX; train with Resize, CenterCrop, Pad or "
            "Grayscale"
        )

    def resize(self, module: v2.Resize, image: str) -> str:
        height, width = self.sides(image)
        if module.size is not None and len(module.size) == 2:
            new = self.numbers(*module.size)
        else:
            sides = self.add("Concat", height, width, axis=0)
            if module.size is None:
                side, target = self.add("Max", height, width), self.numbers(module.max_size)
            else:
                side, target = self.add("Min", height, width), self.numbers(module.size[0])
            new = self.add("Div", self.add("Mul", sides, target), side)
        new_height, new_width = self.add("Gather", new, self.numbers(0)), self.add("Gather", new, self.numbers(1))
        across = self.interpolated(image, height, new_width, module)  # first, and rounded, as torchvision does it with uint8
        return self.interpolated(across, new_height, new_width, module)

    def interpolated(self, image: str, height: str, width: str, module: v2.Resize) -> str:
        sizes = self.add("Concat", self.add("Shape", image, end=2), height, width, axis=0)
        antialias = int(bool(module.antialias))
        how = {
            "mode": "linear",
            "coordinate_transformation_mode": "half_pixel",
            "antialias": antialias,
            "exclude_outside": antialias,
        }
        resized = self.add("Resize", image, "", "", sizes, **how)
        return self.add("Clip", self.add("Round", resized), self.level(0), self.level(255))

    def center_crop(self, image: str, height: int, width: int) -> str:
        """A smaller image gets a black border first."""
        wanted, found = self.numbers(height, width), self.add("Concat", *self.sides(image), axis=0)
        missing = self.add("Max", self.add("Sub", wanted, found), self.numbers(0, 0))
        before = self.add("Div", missing, self.numbers(2))
        none = self.numbers(0, 0)
        pads = self.add("Concat", none, before, none, self.add("Sub", missing, before), axis=0)
        padded = self.add("Pad", image, pads)
        spare = self.add("Sub", self.add("Add", found, missing), wanted)
        half = self.add("Mul", self.add("Cast", spare, to=TensorProto.FLOAT), self.constant(np.array([0.5], np.float32)))
        first = self.add("Cast", self.add("Round", half), to=TensorProto.INT64)
        return self.add("Slice", padded, first, self.add("Add", first, wanted), self.numbers(2, 3))

    def pad(self, image: str, padding: int | Sequence[int]) -> str:
        sides = [padding] * 4 if isinstance(padding, int) else [*padding] * (4 // len(padding))
        left, top, right, bottom = sides
        return self.add("Pad", image, self.numbers(0, 0, top, left, 0, 0, bottom, right))

    def grayscale(self, image: str) -> str:
        """The lightness of each pixel, three times."""
        shares = self.constant(np.array([0.2989, 0.587, 0.114], np.float32).reshape(1, 3, 1, 1))
        axes = self.numbers(1)
        lightness = self.add("Floor", self.add("ReduceSum", self.add("Mul", image, shares), axes))
        return self.add("Concat", lightness, lightness, lightness, axis=1)

    # parts of these

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node; the name of its output."""
        output = self._name(operator)
        self.nodes.append(helper.make_node(operator, [*inputs], [output], **attributes))
        return output

    def sides(self, image: str) -> tuple[str, str]:
        """The height and the width of an image [n, 3, height, width]."""
        return self.add("Shape", image, start=2, end=3), self.add("Shape", image, start=3)

    def numbers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def level(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def constant(self, values: np.ndarray[Any, Any]) -> str:
        name = self._name("constant")
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"prepare_{kind.lower()}_{self._count}"

    @staticmethod
    def _value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
