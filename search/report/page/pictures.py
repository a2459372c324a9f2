"""Pictures of test images, for looking at mistakes. No torch.

This does not open the test split: the predictions did, and that opening is recorded. The data layer returns the pixels
without labels, as for comparing exported formats, so they cannot be scored.
"""

import io
from base64 import b64encode

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import JsonValue, ValidationError

from fmnist.data.cleaning import CleaningRules
from fmnist.data.sources import find_source
from fmnist.data.splits import test_fingerprint, test_pixels
from fmnist.data.synthetic import SYNTHETIC
from fmnist.errors import FmnistError
from search.report.page.missing import Missing
from search.study.records import DataRecord
from search.study.sections import DataSection

SCALE = 3  # enlarged here, as some browsers smooth enlarged images


def find_pixels(data: DataRecord, spec: dict[str, JsonValue]) -> NDArray[np.uint8] | Missing:
    """Return the study's test images from their original place, without a download, or why they cannot be shown.

    Shape: [N, side, side], in colour [N, side, side, 3].
    """
    if data.test_fingerprint is None:
        return Missing("The study does not record which test images it saw, so none can be shown.")
    try:
        rules = CleaningRules.model_validate(spec.get("cleaning", {}), strict=False)
        size = DataSection.model_validate(spec.get("data", {})).size
        named = SYNTHETIC if data.is_synthetic else data.path
        source = find_source(
            named, test=data.test_path, rules=rules, size=size, may_download=False, announce=lambda _: None
        )
        if test_fingerprint(source) != data.test_fingerprint:
            return Missing(f"The test images of {data.name} have changed since the study used them, so none are shown.")
        return test_pixels(source)
    except (FmnistError, ValidationError) as error:
        return Missing(f"The images cannot be shown because the data are not available here: {error}")


def enlarged(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the image with each pixel as a square of SCALE pixels. Shape: [H, W] or [H, W, 3]."""
    return pixels.repeat(SCALE, axis=0).repeat(SCALE, axis=1)


def as_address(pixels: NDArray[np.uint8]) -> str:
    """Return the image as a PNG in a `data:` URL, for an <img>."""
    file = io.BytesIO()
    Image.fromarray(enlarged(pixels)).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
