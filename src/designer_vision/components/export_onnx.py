"""Export ONNX: a trained model as one file that takes photos as they are, checked against the scorer before it is written."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from designer_vision.data import images
from designer_vision.data.transforms import EvaluationTransform, Size, check_size
from designer_vision.formats.image_directory import SAMPLES
from designer_vision.formats.manifest import publishing
from designer_vision.formats.model_directory import Model
from designer_vision.inference.onnx_model import IMAGE, LABEL, OPSET, PROBABILITIES, onnx_model
from designer_vision.inference.scoring import Scorer, fit_for, read_trained_model
from designer_vision.runtime import files
from designer_vision.runtime.console import say
from designer_vision.runtime.description import MOST_JSON, from_json
from designer_vision.runtime.errors import FailedToWriteOutputsError, InvalidDatasetError, InvalidModelDirectoryError

FILE, README = "model.onnx", "README.md"
AS_IT_IS, RESIZED = 1e-3, 1e-2
"""How far probabilities may be apart for an image of the network's size, and for one that is resized, of which some pixels are
rounded to the next level; a temperature below 1 makes more of it."""
HOW_TO = """# How to use model.onnx

One file: it takes the RGB pixels of a photo of any size and gives each class's probability and the label. Resizing, cropping,
normalisation and the names of the labels are inside.

* input `image`: uint8 [batch, height, width, 3]
* outputs `probabilities`: float32 [batch, classes], and `label`: text [batch]
* the classes in their order, as JSON: the model's metadata `labels`

{facts}

## Python

`pip install onnxruntime pillow numpy`, then `python label.py PHOTO`:

```python
import sys
import numpy, onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("model.onnx")
for path in sys.argv[1:]:
    photo = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("RGB")
    label, probabilities = session.run(["label", "probabilities"], {{"image": numpy.array(photo)[None]}})
    print(path, label[0], probabilities[0].max())
```

## JavaScript

`npm install onnxruntime-web sharp`, then `node label.js PHOTO`; in a browser a canvas takes the place of sharp:

```js
const ort = require("onnxruntime-web"), sharp = require("sharp");

(async () => {{
  const session = await ort.InferenceSession.create("model.onnx");
  for (const path of process.argv.slice(2)) {{
    const opaque = sharp(path).rotate().flatten({{ background: "white" }}).toColourspace("srgb");
    const photo = await opaque.raw().toBuffer({{ resolveWithObject: true }});
    const image = new ort.Tensor("uint8", photo.data, [1, photo.info.height, photo.info.width, 3]);
    const {{ label, probabilities }} = await session.run({{ image }});
    console.log(path, label.data[0], Math.max(...probabilities.data));
  }}
}})();
```
"""

Pixels = npt.NDArray[np.uint8]


def main(trained_model: Path, output: Path) -> None:
    """Write `model.onnx` and how to use it.

    Raises:
        InvalidModelDirectoryError: the model is not a trained one, or goes through an operation that ONNX does not have.
        FailedToWriteOutputsError: what ONNX computes is not what Score Image Model does.
    """
    model = read_trained_model(trained_model)
    if model.size is None:
        say(
            "note: this classic model does not record the size of its images; photos are resized to 256 and cropped to 224 pixels"
        )
    content = onnx_model(model).SerializeToString()
    size = fit_for(model).size
    differences = [*compared(model, content, trained_model)]
    with publishing(output):
        (output / FILE).write_bytes(content)
        (output / README).write_text(HOW_TO.format(facts=_facts(model, size)), encoding="utf-8")
    say(f"probabilities are those of Score Image Model within {max(differences):.1g}, on {len(differences)} images")
    say(f"{model.architecture.model_name} with {len(model.labels)} classes is in {output / FILE}, {len(content) / 1e6:.1f} MB")


def _facts(model: Model, size: Size) -> str:
    return (
        f"This one is {model.architecture.model_name} with {len(model.labels)} classes; what it sees has {size[0]} x {size[1]} "
        f"pixels (height x width). Any runtime for ONNX with opset {OPSET} runs it."
    )


def compared(model: Model, content: bytes, folder: Path) -> Iterator[float]:
    """Of some images, how far apart ONNX's and the scorer's probabilities of them are.

    Raises:
        FailedToWriteOutputsError: too far.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    scorer, fit = Scorer(model, torch.device("cpu"), torch.float32), fit_for(model)
    for pixels in [*_sampled(folder), *_made(fit.size)]:
        expected = scorer(_fitted(pixels, fit, folder)[None])
        found, (label,) = session.run([PROBABILITIES, LABEL], {IMAGE: pixels[None]})
        apart = float(np.abs(found - expected).max())
        most = (AS_IT_IS if pixels.shape[:2] == fit.size else RESIZED) / min(1.0, model.temperature)
        if not apart <= most or label != model.labels[int(found[0].argmax())]:
            raise FailedToWriteOutputsError(
                f"ONNX and Score Image Model give an image of {pixels.shape[0]} x {pixels.shape[1]} pixels other probabilities: "
                f"they are {apart:.2g} apart, expected at most {most:g}; nothing is written"
            )
        yield apart


def _fitted(pixels: Pixels, fit: EvaluationTransform, folder: Path) -> torch.Tensor:
    """What the network sees of an image, uint8 [3, height, width].

    Raises:
        InvalidModelDirectoryError: what the model recorded does not take images to its size.
    """
    try:
        fitted = fit(torch.from_numpy(pixels).permute(2, 0, 1))
        check_size(fitted, fit.size)
    except (ValueError, RuntimeError, TypeError) as error:
        raise InvalidModelDirectoryError(
            f"{folder} has the operations {fit.operations}, which do not take an image of {pixels.shape[0]} x {pixels.shape[1]} "
            f"pixels to the network's size: {error}; copy the folder again, or train the model again"
        ) from error
    return fitted


class _Sample(msgspec.Struct):
    image: str


def _sampled(folder: Path) -> Iterator[Pixels]:
    """The photos that the model's folder keeps of its training; none where it keeps none that can be read."""
    if not (folder / SAMPLES).exists():
        return
    try:
        content = files.read(folder, SAMPLES, InvalidDatasetError, MOST_JSON)
        for sample in from_json(content, list[_Sample], folder / SAMPLES, InvalidDatasetError):
            yield images.decode(base64.b64decode(sample.image), folder / SAMPLES)
    except (InvalidDatasetError, ValueError) as error:
        say(f"note: {error}; the export is compared on made images only")


def _made(size: Size) -> Iterator[Pixels]:
    """Smooth pictures of the network's size, larger, smaller, upright and lying."""
    height, width = size
    draw = np.random.default_rng(1)
    for sides in (size, (2 * height + 1, 3 * width), (height + 3, max(width // 2, 1)), (max(height // 3, 1), width)):
        coarse = torch.from_numpy(draw.integers(0, 256, (1, 3, 5, 5)).astype(np.float32))
        smooth = torch.nn.functional.interpolate(coarse, sides, mode="bicubic")
        yield smooth.clamp(0, 255).byte()[0].permute(1, 2, 0).numpy()
