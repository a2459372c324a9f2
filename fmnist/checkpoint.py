"""A trained network as a folder: its weights (safetensors) and everything else needed to use them (config.json). Never pickle."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fmnist.atomic import folder_in_place
from fmnist.config import TrialConfig
from fmnist.errors import FmnistError
from fmnist.model import ConvNet

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FORMAT = 1
LARGEST_CONFIG = 2**20  # bytes; a real one has about a thousand
CPU: Final = torch.device("cpu")
_DTYPES = {torch.float32: "F32", torch.int64: "I64"}  # as safetensors names them; the integers are batch norm's counters
_AGAIN = "Copy the whole folder again, or train again."


@dataclass(frozen=True)
class Checkpoint:
    """A network in evaluation mode, and where it comes from."""

    model: ConvNet
    config: TrialConfig
    class_names: tuple[str, ...]
    origin: dict[str, Any]  # free facts that JSON can hold: data, seed, study, versions


def save_checkpoint(
    folder: Path, model: nn.Module, config: TrialConfig, class_names: tuple[str, ...], *, origin: Mapping[str, Any]
) -> None:
    """`folder` holds the network, whole or not at all, even if the process is killed; a checkpoint that was there is replaced.

    Raises: FmnistError where `folder` holds anything but a checkpoint, cannot be written, or the network is not that of `config`.
    """
    _require_replaceable(folder)
    # Contiguous float32 on the CPU, whatever the layout and precision it was trained in.
    weights = {name: (t.float() if t.is_floating_point() else t).cpu().contiguous() for name, t in model.state_dict().items()}
    _require_tensors({name: (tuple(t.shape), _DTYPES[t.dtype]) for name, t in weights.items()}, config, len(class_names), "The model")
    data = save(weights)
    about = {
        "format": FORMAT,
        "config": config.model_dump(mode="json"),
        "class_names": list(class_names),
        "origin": dict(origin),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    try:
        with folder_in_place(folder) as fresh:
            (fresh / WEIGHTS).write_bytes(data)
            (fresh / CONFIG).write_text(json.dumps(about, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise FmnistError(f"{folder} must be writable: {error.strerror}. Free space there, or name another folder.") from error


def load_checkpoint(folder: Path, device: torch.device = CPU) -> Checkpoint:
    """The checkpoint in `folder`, checked down to the last byte, its network on `device`.

    A knob that an older version did not know has its default.
    Raises: FmnistError naming the file, the rule, what was found instead and the next step.
    """
    about = _read_about(folder)
    config = TrialConfig.parse(about.config, where=str(folder / CONFIG))
    path = folder / WEIGHTS
    try:
        _require_checksum(path, about.sha256)
        with safe_open(path, framework="pt") as file:  # reads the header only: nothing is allocated before it is known to fit
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {name: (tuple(part.get_shape()), str(part.get_dtype())) for name, part in parts.items()}
        _require_tensors(found, config, len(about.class_names), str(path))
        weights = load_file(path)
    except SafetensorError as error:
        raise FmnistError(f"{path} must be a safetensors file: {error}. {_AGAIN}") from error
    except OSError as error:
        raise FmnistError(f"{path} must be readable: {error.strerror or error}. {_AGAIN}") from error
    return Checkpoint(_network(config, weights, len(about.class_names)).to(device), config, about.class_names, about.origin)


class _About(BaseModel):
    """config.json, without the rules inside `config`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    config: dict[str, Any]
    class_names: tuple[str, ...]
    origin: dict[str, Any]
    sha256: str

    @field_validator("format")
    @classmethod
    def _known(cls, received: int) -> int:
        if received != FORMAT:
            raise ValueError(f"this version reads format {FORMAT}; install the version that wrote the file")
        return received

    @field_validator("class_names")
    @classmethod
    def _distinct(cls, received: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(received)) < max(2, len(received)):
            raise ValueError("at least two names, all different")
        return received


def _read_about(folder: Path) -> _About:
    path = folder / CONFIG
    try:
        if (size := path.stat().st_size) > LARGEST_CONFIG:
            raise FmnistError(f"{path} must be at most {LARGEST_CONFIG:,} bytes, got {size:,}. Is it the config.json of another program?")
        return _About.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise FmnistError(f"A checkpoint is a folder with {CONFIG} and {WEIGHTS}; there is no {path}. {_present(folder)}") from None
    except OSError as error:
        raise FmnistError(f"{path} must be readable: {error.strerror}. Name the folder that holds {CONFIG} and {WEIGHTS}.") from error
    except ValidationError as error:
        rules = "; ".join(f"{'.'.join(map(str, part['loc'])) or 'file'}: {part['msg']}" for part in error.errors())
        raise FmnistError(f"{path} is not the config.json of a checkpoint: {rules}. {_AGAIN}") from None


def _present(folder: Path) -> str:
    if not folder.is_dir():
        return "That folder does not exist: check the path."
    inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
    return f"Did you mean {str(folder / inside[0])!r}?" if inside else "Name another folder."


def _require_replaceable(folder: Path) -> None:
    if folder.is_dir():
        foreign = sorted({path.name for path in folder.iterdir()} - {WEIGHTS, CONFIG})
        if foreign:
            raise FmnistError(f"A checkpoint replaces only a checkpoint; {folder} also holds {foreign[0]!r}. Name another folder.")
    elif folder.exists():
        raise FmnistError(f"A checkpoint is a folder; {folder} is a file. Name another folder.")


def _require_checksum(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise FmnistError(
            f"{path} ({path.stat().st_size:,} bytes) must have the SHA-256 in {CONFIG}, {expected[:12]}…, got {found[:12]}…. "
            f"It is damaged or belongs to another {CONFIG}. {_AGAIN}"
        )


def _require_tensors(found: dict[str, tuple[tuple[int, ...], str]], config: TrialConfig, classes: int, where: str) -> None:
    with torch.device("meta"):
        expected = {name: (tuple(t.shape), _DTYPES[t.dtype]) for name, t in ConvNet(config, classes).state_dict().items()}
    wrong = [
        f"{name} must be {_described(expected.get(name))}, got {_described(found.get(name))}"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise FmnistError(f"{where} does not fit its configuration: {'; '.join(wrong[:3])}{more}. {_AGAIN}")


def _described(tensor: tuple[tuple[int, ...], str] | None) -> str:
    return f"{tensor[1]} {list(tensor[0])}" if tensor else "absent"


def _network(config: TrialConfig, weights: dict[str, Tensor], classes: int) -> ConvNet:
    with torch.device("meta"):  # not drawn at random first, so that loading leaves PyTorch's generator alone
        model = ConvNet(config, classes)
    model.load_state_dict(weights, assign=True)
    return model.eval()
