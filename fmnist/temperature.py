"""Temperature scaling: one number, fitted on validation images, brings a network's probabilities to its accuracy.

The class scores are divided by the temperature before the softmax. The order of the classes, and so every prediction,
stays the same.

Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017, arXiv 1706.04599, section 4.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fmnist.errors import FmnistError

if TYPE_CHECKING:
    from fmnist.network import Network

LOWEST, HIGHEST = 0.5, 4.0
FEWEST_IMAGES = 100  # with fewer, the fitted temperature is mostly noise
DECIMALS = 3
SMALLEST = float(np.finfo(np.float32).tiny)  # in place of a probability that was rounded to 0


def fit_temperature(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return the temperature T at which softmax(log p / T) has the lowest negative log-likelihood.

    T is above 1 for an overconfident network, within [0.5, 4], and rounded to 3 decimals. The logarithm of a
    probability is the class score up to a constant of the image, so softmax(log p / T) is softmax(scores / T).

    Shape: probabilities [N, C]; labels [N], encoded 0 .. C - 1; N at least 100.
    Raises: FmnistError if there are fewer images, or the shapes do not fit each other.
    """
    # Imported here because reports, which only apply a temperature, do without it.
    from scipy.optimize import minimize_scalar

    if labels.ndim != 1 or probabilities.shape[:-1] != labels.shape or len(labels) < FEWEST_IMAGES:
        raise FmnistError(
            f"A temperature takes probabilities [N, C] and labels [N] of at least {FEWEST_IMAGES} images, got "
            f"{list(probabilities.shape)} and {list(labels.shape)}. Fit it on more validation images."
        )
    logs = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))  # [N, C]
    of_truth = float(logs[np.arange(len(labels)), labels].mean())

    def loss(log_temperature: float) -> float:
        inverse = math.exp(-log_temperature)
        # The largest of C probabilities is at least 1 / C, so the sum does not underflow.
        return float(np.log(np.exp(logs * inverse).sum(axis=1)).mean()) - of_truth * inverse

    found = minimize_scalar(loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded")
    return round(math.exp(float(found.x)), DECIMALS)


def with_temperature(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Return softmax(log p / T); with 1 / T in place of T it undoes that.

    Shape: probabilities [..., C] -> the same; a probability of 0 stays 0.
    Raises: FmnistError if T is not a positive number.
    """
    _require_temperature(temperature)
    # As powers, which need no logarithm of 0; the largest becomes 1, so that not all of a row can underflow.
    shares = probabilities.astype(np.float64) / probabilities.max(axis=-1, keepdims=True)
    powers = shares ** (1 / temperature)
    scaled: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return scaled


def scale_scores(network: "Network", temperature: float) -> None:
    """Divide the class scores of the network by `temperature`, in place: in the parameters of its last dense layer.

    Raises: FmnistError if the temperature is not a positive number.
    """
    import torch  # here because reports are written without it

    _require_temperature(temperature)
    with torch.no_grad():
        for parameter in network.classifier[-1].parameters():
            parameter.div_(temperature)


def _require_temperature(temperature: float) -> None:
    if not 0 < temperature < math.inf:  # NaN fails as well
        raise FmnistError(
            f"A temperature must be a positive number, got {temperature}. Fit one with fit_temperature, or give 1."
        )
