from contextlib import suppress

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fmnist.device import available_devices, choose_device, device_name
from fmnist.errors import FmnistError


def test_the_cpu_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert available_devices()[-1] == "cpu"
    assert device_name(torch.device("cpu")) == "cpu"


def test_without_a_wish_the_fastest_present_is_taken() -> None:
    assert choose_device(None).type == available_devices()[0]
    assert torch.ones(2, device=choose_device(None)).sum().item() == 2


@pytest.mark.parametrize("asked", ["gpu", "", "CPU", "cuda:x", "cuda:-1", "tpu:0"])
def test_an_unknown_name_is_refused_with_the_names_there_are(asked: str) -> None:
    with pytest.raises(FmnistError) as caught:
        choose_device(asked)
    assert "cpu, cuda, cuda:N or mps" in str(caught.value)
    assert repr(asked) in str(caught.value)
    assert f"Present: {', '.join(available_devices())}." in str(caught.value)


@pytest.mark.parametrize("asked", ["cuda:99", "mps:3", "cpu:1", "meta"])
def test_an_absent_device_is_refused_with_those_present(asked: str) -> None:
    with pytest.raises(FmnistError) as caught:
        choose_device(asked)
    assert repr(asked) in str(caught.value)
    assert f"Present: {', '.join(available_devices())}." in str(caught.value)


@given(st.text(max_size=8) | st.from_regex(r"(cpu|cuda|mps|meta|xpu):[0-9]{1,4}", fullmatch=True))
@example("cpu:256")  # PyTorch keeps an index in eight bits: this one is its cpu:0
@example("cuda:256")
@settings(max_examples=200, deadline=None)
def test_never_another_device_than_the_one_asked_for(asked: str) -> None:
    with suppress(FmnistError):
        device = choose_device(asked)
        assert str(device) == asked
        assert device.type in available_devices()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_is_taken_first_and_named() -> None:
    assert choose_device(None).type == "cuda"
    assert choose_device("cuda:0") == torch.device("cuda:0")
    assert device_name(choose_device("cuda")) == torch.cuda.get_device_name(0)
