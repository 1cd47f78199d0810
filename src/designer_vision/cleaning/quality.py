"""Pictures that are no use, or odd: each kind by a rule that stands in the report.

The thresholds were chosen on photos of scikit-image and scikit-learn, Debian's openclipart and tuxpaint stamps, and handwritten
digits; benchmarks/2026-11-27_cleaning.md has what each of them finds there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from designer_vision.cleaning.looks import Looks
from designer_vision.data.images import ADVICE
from designer_vision.formats.left_out import UNREADABLE

BLANK, ONE_COLOUR, DARK, BRIGHT = "blank", "of one colour", "dark", "bright"
BLURRED, TINY, ODD_SHAPE = "blurred", "tiny", "of an odd shape"
LEAST_SPREAD = 2
"""Standard deviation of a channel, of 128 at most, from which on there is something to see."""
MOST_ONE_COLOUR = 0.99
MOST_DARK, LEAST_BRIGHT = 45, 225
"""Levels of 255."""
LEAST_SHARPNESS, OF_USUAL_SHARPNESS = 0.03, 0.1
LEAST_SIDE, OF_USUAL_SIDE = 32, 0.25
MOST_ASPECT, OF_USUAL_ASPECT = 4, 2


RULES = {
    UNREADABLE: "The file is damaged, or no image: a training would stop at it.",
    BLANK: f"There is nothing to see: no channel varies by {LEAST_SPREAD} of 255 levels (standard deviation).",
    ONE_COLOUR: f"{MOST_ONE_COLOUR:.0%} of the pixels or more have one colour, to within 16 of 255 levels.",
    DARK: f"99 % of the pixels are darker than {MOST_DARK} of 255.",
    BRIGHT: f"99 % of the pixels are brighter than {LEAST_BRIGHT} of 255.",
    BLURRED: f"Even the sharpest sixteenth of the picture has a sharpness below {LEAST_SHARPNESS}, and below a tenth of what is "
    "usual here. Large photos are measured at 256 pixels of the shorter side, so a slight blur does not count.",
    TINY: f"The shorter side has less than {LEAST_SIDE} pixels, and less than a quarter of what is usual here.",
    ODD_SHAPE: f"The longer side is more than {MOST_ASPECT} times as long as the shorter one, and than twice what is usual here: "
    "most of the picture is cropped away, or it is squashed.",
}
"""What a picture of each kind is, in the order of the report."""
USELESS = (UNREADABLE, BLANK)
"""Kinds that nobody could want in a training."""


def odd_pictures(looks: Looks, own: int) -> dict[str, list[tuple[int, str]]]:
    """The pictures of each kind, the worst first, with what was measured. What is blank or of one colour is not dark or bright.

    Args:
        looks: of the pictures.
        own: so many of them, from the front, are judged; what is usual is the median of these.
    """
    measures = looks.measures[:own]
    is_readable = measures["is_readable"]
    shorter = measures["size"].min(axis=1).astype(np.float64)
    aspect = measures["size"].max(axis=1) / np.maximum(shorter, 1)
    sharpness, one_colour = measures["sharpness"], 100 * measures["one_colour"]
    is_blank = is_readable & (measures["spread"] < LEAST_SPREAD)
    judged = is_readable & ~is_blank
    is_one_colour = judged & (one_colour >= 100 * MOST_ONE_COLOUR)
    varied = judged & ~is_one_colour
    blurred = (sharpness < LEAST_SHARPNESS) & (sharpness < OF_USUAL_SHARPNESS * _usual(sharpness, judged))
    tiny = (shorter < LEAST_SIDE) & (shorter < OF_USUAL_SIDE * _usual(shorter, is_readable))
    odd_shape = (aspect > MOST_ASPECT) & (aspect > OF_USUAL_ASPECT * _usual(aspect, is_readable))
    darkest, brightest = measures["darkest"], measures["brightest"]
    found = {
        BLANK: _worst_first(is_blank, measures["spread"], "varies by {:.1f} of 255"),
        ONE_COLOUR: _worst_first(is_one_colour, one_colour, "{:.1f} % of one colour", -1),
        DARK: _worst_first(varied & (brightest < MOST_DARK), brightest, "nothing above {} of 255"),
        BRIGHT: _worst_first(varied & (darkest > LEAST_BRIGHT), darkest, "nothing below {} of 255", -1),
        BLURRED: _worst_first(judged & blurred, sharpness, "sharpness {:.4f}"),
        TINY: _worst_first(is_readable & tiny, shorter, "shorter side {:.0f} pixels"),
        ODD_SHAPE: _worst_first(is_readable & odd_shape, aspect, "{:.1f} times as long as wide", -1),
    }
    unreadable = [(row, message.removesuffix(f"; {ADVICE}")) for row, message in looks.unreadable.items() if row < own]
    return {UNREADABLE: unreadable} | found


def _usual(values: npt.NDArray[np.floating[Any]], of: npt.NDArray[np.bool_]) -> float:
    """The median of some of the values; 0 where there are none."""
    known = of & np.isfinite(values)
    return float(np.median(values[known])) if known.any() else 0.0


def _worst_first(is_one: npt.NDArray[np.bool_], values: npt.NDArray[Any], text: str, sign: int = 1) -> list[tuple[int, str]]:
    """The pictures of a kind with their figure: the lowest first, or by sign -1 the highest."""
    rows = np.flatnonzero(is_one)
    order = rows[np.argsort(sign * values[rows].astype(np.float64), kind="stable")]
    return [(int(row), text.format(values[row])) for row in order]
