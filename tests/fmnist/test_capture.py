"""Errors during a capture, with a fake graph: as in PyTorch, ending a failed capture raises another error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from fmnist.cuda import capture, is_fault


@contextmanager
def graph(*_: Any, **__: Any) -> Iterator[None]:
    try:
        yield
    finally:
        raise torch.AcceleratorError("CUDA error: operation failed due to a previous error during capture")


@pytest.fixture(autouse=True)
def _device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: None)
    monkeypatch.setattr(torch.cuda, "graph", graph)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), TypeError("a bug"), RuntimeError("a shape")]
)
def test_the_error_of_the_work_is_raised_instead_of_the_error_of_the_capture(error: Exception) -> None:
    def work() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        capture(work, torch.device("cuda"))
    assert raised.value is error


def test_an_error_of_the_capture_itself_is_a_device_fault() -> None:
    with pytest.raises(torch.AcceleratorError, match="during capture") as raised:
        capture(lambda: None, torch.device("cuda"))
    assert is_fault(raised.value)
