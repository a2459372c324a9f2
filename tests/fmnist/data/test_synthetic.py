from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from threadpoolctl import threadpool_limits
from torch import nn

from fmnist.data import synthetic
from fmnist.data.images import Images


def _convnet() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 49, 10)),
    )


def _scaled(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels)[:, None].float() / 255


def _macro_f1_of_convnet(epochs: int) -> float:
    torch.manual_seed(0)
    net, images = _convnet(), synthetic.train()
    pixels, labels = _scaled(images.pixels), torch.from_numpy(images.labels)
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=epochs * -(-len(images) // 64))
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(images)), 64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(pixels[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        predicted = net(_scaled(synthetic.test().pixels)).argmax(1)
    return float(f1_score(synthetic.test().labels, predicted.numpy(), average="macro"))


def _macro_f1_of_linear_model() -> float:
    images, test = synthetic.train(), synthetic.test()
    model = LogisticRegression(max_iter=30).fit(
        images.pixels.reshape(len(images), -1).astype(np.float32) / 255, images.labels
    )
    return float(f1_score(test.labels, model.predict(test.pixels.reshape(len(test), -1) / 255), average="macro"))


@pytest.mark.parametrize(("load", "count"), [(synthetic.train, 6_000), (synthetic.test, 1_000)])
def test_the_classes_are_balanced_and_the_ground_is_dark(load: Callable[[], Images], count: int) -> None:
    images = load()
    assert images.pixels.shape == (count, 28, 28)
    assert images.pixels.dtype == np.uint8
    assert images.labels.dtype == np.int64
    assert np.bincount(images.labels).tolist() == [count // 10] * 10
    assert np.median(images.pixels[:, 0, :]) == 0
    assert images.pixels.reshape(count, -1).max(axis=1).min() > 40  # no image is empty


# Mean grey of the training images of each class, in seven bands of four rows from top to bottom.
BANDS = {
    "T-shirt/top": [4.2, 37.4, 64.9, 55.1, 47.7, 22.2, 1.7],
    "Trouser": [7.6, 28.9, 39.6, 40.4, 38.2, 28.3, 7.5],
    "Pullover": [3.5, 34.8, 71.8, 81.2, 69.7, 27.4, 1.8],
    "Dress": [6.9, 25.5, 32.9, 35.2, 43.0, 39.4, 11.7],
    "Coat": [4.3, 31.0, 59.3, 70.3, 66.0, 41.5, 10.1],
    "Sandal": [0.0, 0.4, 5.2, 19.8, 42.1, 24.9, 1.5],
    "Shirt": [5.3, 37.5, 71.4, 73.8, 59.6, 28.5, 2.6],
    "Sneaker": [0.0, 0.7, 15.0, 55.7, 60.2, 13.8, 0.1],
    "Bag": [0.6, 6.4, 25.8, 61.0, 75.1, 42.5, 4.6],
    "Ankle boot": [1.7, 15.8, 37.1, 48.8, 67.3, 43.8, 5.2],
}


def test_the_images_are_those_on_which_the_documented_scores_were_measured() -> None:
    images = synthetic.train()
    for label, name in enumerate(images.class_names):
        rows = images.pixels[images.labels == label].mean(axis=(0, 2))
        assert rows.reshape(7, 4).mean(axis=1).tolist() == pytest.approx(BANDS[name], abs=0.1), name
    assert ((images.pixels == 0).mean(), (images.pixels == 255).mean()) == pytest.approx((0.7320, 0.0026), abs=1e-4)


def test_the_same_seed_draws_the_same_images_and_another_seed_others() -> None:
    first, again, other = synthetic.draw(40, seed=1), synthetic.draw(40, seed=1), synthetic.draw(40, seed=2)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert not (first.pixels == other.pixels).all(axis=(1, 2)).any()


def test_no_image_occurs_twice_in_train_and_test() -> None:
    both = np.concatenate([synthetic.train().pixels, synthetic.test().pixels])
    assert len({image.tobytes() for image in both}) == len(both)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")  # 30 steps are as good as 300
def test_a_convnet_learns_what_a_linear_model_cannot() -> None:
    with threadpool_limits(1):  # threads slow such small networks down
        linear, convnet = _macro_f1_of_linear_model(), _macro_f1_of_convnet(epochs=2)
    assert 0.5 < linear < 0.76
    assert 0.85 < convnet < 0.99
