import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch

from fmnist.precision import SLOW, bfloat16_time, is_mixed, why_float32

CPU = torch.device("cpu")
HAS_BFLOAT16 = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
Measured = Callable[..., list[torch.dtype]]


@pytest.fixture(autouse=True)
def _measured_again() -> Iterator[None]:
    bfloat16_time.cache_clear()
    yield
    bfloat16_time.cache_clear()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    """Gives the CPU these times in bfloat16, the last one for all further passes; float32 takes 1 s. Returns the passes
    that were measured.
    """

    def give(*times: float, has_bfloat16: bool = True) -> list[torch.dtype]:
        passes: list[torch.dtype] = []

        def seconds(dtype: torch.dtype) -> float:
            passes.append(dtype)
            return times[min(passes.count(torch.bfloat16), len(times)) - 1] if dtype == torch.bfloat16 else 1.0

        monkeypatch.setattr("fmnist.precision._seconds", seconds)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_bfloat16})
        return passes

    return give


@pytest.mark.parametrize(("time", "expected"), [(0.5, True), (1.0, True), (1.5, False), (3.0, False), (14.0, False)])
def test_bfloat16_is_refused_only_where_it_is_far_slower(time: float, expected: bool, measured: Measured) -> None:
    measured(time)
    assert is_mixed(CPU) is expected
    assert (why_float32(CPU) is None) is expected


def test_a_pass_that_other_work_made_longer_does_not_count(measured: Measured) -> None:
    measured(30.0, 0.5, 20.0)
    assert is_mixed(CPU)


def test_a_refusal_says_what_was_measured(measured: Measured) -> None:
    measured(3.14)
    assert why_float32(CPU) == (
        "bfloat16 is not used: a convolution takes 3.1 times as long in it as in float32, with this processor and "
        f"PyTorch {torch.__version__}. Training uses float32."
    )


def test_only_a_processor_with_bfloat16_is_measured(measured: Measured) -> None:
    passes = measured(0.5, has_bfloat16=False)
    assert not is_mixed(CPU)
    assert why_float32(CPU) is None
    assert not is_mixed(torch.device("mps"))
    assert why_float32(torch.device("cuda")) is None
    assert passes == []


def test_a_process_measures_once(measured: Measured) -> None:
    passes = measured(0.5)
    assert is_mixed(CPU)
    count = len(passes)
    assert set(passes) == {torch.float32, torch.bfloat16}
    measured(3.0)
    assert is_mixed(CPU)
    assert len(passes) == count


def test_the_real_measurement_changes_nothing_else() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    with torch.no_grad():
        assert is_mixed(CPU) == (HAS_BFLOAT16 and bfloat16_time() <= SLOW)
        assert bfloat16_time() > 0
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


@pytest.mark.process
@pytest.mark.skipif(not HAS_BFLOAT16, reason="this processor has no bfloat16")
def test_without_kernels_for_bfloat16_training_uses_float32() -> None:
    program = "import torch; from fmnist.precision import why_float32; print(why_float32(torch.device('cpu')))"
    without = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}  # PyTorch's library of kernels then takes none for AVX-512
    done = subprocess.run([sys.executable, "-c", program], env=without, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("bfloat16 is not used: a convolution takes ")
