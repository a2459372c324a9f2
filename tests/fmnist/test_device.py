from contextlib import suppress

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fmnist.device import available_devices, choose_device, device_name
from fmnist.errors import FmnistError


def test_the_cpu_is_always_present() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert available_devices()[-1] == "cpu"
    assert device_name(torch.device("cpu")) == "cpu"


def test_the_default_is_the_fastest_device() -> None:
    assert choose_device(None).type == available_devices()[0]
    assert torch.ones(2, device=choose_device(None)).sum().item() == 2


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "cuda:x", "cuda:-1", "tpu:0"])
def test_an_unknown_name_is_refused_with_the_valid_names(name: str) -> None:
    with pytest.raises(FmnistError) as caught:
        choose_device(name)
    assert "cpu, cuda, cuda:N or mps" in str(caught.value)
    assert repr(name) in str(caught.value)
    assert f"Present: {', '.join(available_devices())}." in str(caught.value)


@pytest.mark.parametrize("name", ["cuda:99", "mps:3", "cpu:1", "meta"])
def test_an_absent_device_is_refused_with_the_devices_present(name: str) -> None:
    with pytest.raises(FmnistError) as caught:
        choose_device(name)
    assert repr(name) in str(caught.value)
    assert f"Present: {', '.join(available_devices())}." in str(caught.value)


@given(st.text(max_size=8) | st.from_regex(r"(cpu|cuda|mps|meta|xpu):[0-9]{1,4}", fullmatch=True))
@example("cpu:256")  # PyTorch stores the index in eight bits, so that this would be cpu:0
@example("cuda:256")
@settings(max_examples=200, deadline=None)
def test_the_chosen_device_is_always_the_named_one(name: str) -> None:
    with suppress(FmnistError):
        device = choose_device(name)
        assert str(device) == name
        assert device.type in available_devices()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_is_the_default_and_has_a_name() -> None:
    assert choose_device(None).type == "cuda"
    assert choose_device("cuda:0") == torch.device("cuda:0")
    assert device_name(choose_device("cuda")) == torch.cuda.get_device_name(0)
