"""The formats that a model is exported in."""

from collections.abc import Sequence

from fmnist.classifier import CHECKPOINT_FILES, ONNX_FILES
from fmnist.suggestions import did_you_mean
from search.errors import SearchError

CONFIG, WEIGHTS = CHECKPOINT_FILES
ONNX, INT8, ENSEMBLE = ONNX_FILES
PT2 = "model.pt2"
FORMATS = {"safetensors": WEIGHTS, "pt2": PT2, "onnx": ONNX, "onnx-int8": INT8}  # name -> file, in order of writing
WHAT = {
    WEIGHTS: f"weights, with {CONFIG}",
    PT2: "torch.export",
    ONNX: "ONNX",
    INT8: "ONNX, weights and activations in 8 bits",
    ENSEMBLE: "ONNX, all networks and the mean of their probabilities",
}


def select_files(names: Sequence[str]) -> tuple[str, ...]:
    """Return the files of the named formats, each once and in order of writing; all files if no format is named.

    Raises: SearchError if a name is unknown.
    """
    for name in names:
        if name not in FORMATS:
            raise SearchError(f"--format must be {', '.join(FORMATS)}; got {name!r}. {did_you_mean(name, FORMATS)}")
    return tuple(file for name, file in FORMATS.items() if not names or name in names)
