"""A trained network as a folder: weights (safetensors) and what is needed to use them (config.json). Never pickle.

config.json holds the SHA-256 of the weights and a checksum of its own content. They protect against damage and careless
edits, not against an attacker who rewrites both. So a folder is not trusted: sizes, names and shapes are checked before
memory is allocated.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fmnist.atomic import folder_in_place
from fmnist.config import TrialConfig
from fmnist.data.labels import NAMES, are_class_names
from fmnist.data.preparation import Preparation
from fmnist.errors import FmnistError
from fmnist.files import read_file, require_file
from fmnist.network import Network, build
from fmnist.refusals import listed, refusals, shown

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FORMAT = 1
LARGEST_CONFIG = 2**20  # bytes; about a thousand is typical
LARGEST_HEADER = 2**20  # bytes of the weights file before the weights
Tensors = dict[str, tuple[tuple[int, ...], str]]  # name -> shape and type
CPU: Final = torch.device("cpu")
_DTYPES = {torch.float32: "F32", torch.int64: "I64"}  # names in safetensors; batch norm counts in int64
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="64 hexadecimal digits in lower case")]
_SIZES = {"F32": 4, "I64": 8}
_RETRY = "Copy the whole folder again, or train again."


@dataclass(frozen=True)
class Checkpoint:
    """A network in evaluation mode, and its origin."""

    model: Network
    config: TrialConfig
    class_names: tuple[str, ...]
    origin: dict[str, Any]  # any JSON: data, seed, study, versions
    seal: str = ""  # SHA-256 of the content of config.json, which includes that of the weights; "" if not saved

    @property
    def preparation(self) -> Preparation:
        """How the training pictures were prepared."""
        stored = Preparation.from_record(
            self.origin.get("pictures"), self.origin.get("data"), f"{CONFIG}, 'pictures' in 'origin',"
        )
        # The network decides the size: an origin without pictures says nothing of it.
        return stored.model_copy(update=self.config.size._asdict())


def save_checkpoint(
    folder: Path, model: nn.Module, config: TrialConfig, class_names: tuple[str, ...], *, origin: Mapping[str, Any]
) -> None:
    """Save the network atomically in `folder`, replacing a checkpoint there.

    Raises: FmnistError if `folder` holds anything but a checkpoint or cannot be written, or if the network does not fit
    `config`.
    """
    _require_replaceable(folder)
    # Contiguous float32 on the CPU, independent of the layout and precision in training.
    weights = {
        name: (t.float() if t.is_floating_point() else t).cpu().contiguous() for name, t in model.state_dict().items()
    }
    tensors = {name: (tuple(t.shape), _DTYPES[t.dtype]) for name, t in weights.items()}
    _require_tensors(tensors, _tensors(config, len(class_names)), "The model")
    data = save(weights)
    content = {
        "format": FORMAT,
        "config": config.model_dump(mode="json"),
        "class_names": class_names,
        "origin": dict(origin),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    about = _parsed(json.dumps(content, allow_nan=False).encode(), "The model")
    try:
        with folder_in_place(folder) as temporary:
            (temporary / WEIGHTS).write_bytes(data)
            _write_about(temporary, about)
    except OSError as error:
        raise FmnistError(
            f"{folder} must be writable: {error.strerror}. Free space there, or name another folder."
        ) from error


def copy_checkpoint(folder: Path, to: Path, *, origin: Mapping[str, Any]) -> None:
    """Copy the checkpoint's files into the folder `to`, and add `origin` to its origin.

    Raises: FmnistError if config.json cannot be read. OSError.
    """
    about = _read_about(folder)
    shutil.copyfile(folder / WEIGHTS, to / WEIGHTS)
    _write_about(to, about.model_copy(update={"origin": {**about.origin, **origin}}))


def load_checkpoint(folder: Path, device: torch.device = CPU) -> Checkpoint:
    """Load the checkpoint in `folder`, with all checks, and its network on `device`.

    Knobs that are missing in an older checkpoint get their defaults.
    Raises: FmnistError naming the file, the rule, the value received and the next step.
    """
    about = _read_about(folder)
    config = TrialConfig.parse(about.config, context=str(folder / CONFIG))
    if about.checksum not in (None, about.seal):
        raise FmnistError(
            f"{folder / CONFIG} must have the checksum {about.seal[:12]}…, got {shown(about.checksum)}. It was "
            f"changed. {_RETRY}"
        )
    path, expected = folder / WEIGHTS, _tensors(config, len(about.class_names))
    try:
        # A configuration may describe a network that exceeds the memory.
        require_file(path, _bytes(expected) + LARGEST_HEADER)
        _require_checksum(path, about.sha256)
        with safe_open(path, framework="pt") as file:  # reads only the header, to check it before memory is allocated
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            tensors = {name: (tuple(part.get_shape()), str(part.get_dtype())) for name, part in slices.items()}
        _require_tensors(tensors, expected, str(path))
        weights = load_file(path)
    except SafetensorError as error:
        raise FmnistError(f"{path} must be a safetensors file: {shown(str(error))}. {_RETRY}") from error
    except OSError as error:
        raise FmnistError(f"{path} must be readable: {error.strerror or error}. {_RETRY}") from error
    model = _network(config, weights, len(about.class_names)).to(device)
    return Checkpoint(model, config, about.class_names, about.origin, about.seal)


class _About(BaseModel):
    """config.json, without validation of `config`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    config: dict[str, Any]
    class_names: tuple[str, ...]
    origin: dict[str, Any]
    sha256: Digest  # of the weights
    checksum: Digest | None = None  # the seal at the time of writing; older checkpoints have none

    @property
    def seal(self) -> str:
        """The SHA-256 of the content of config.json, independent of its layout."""
        content = json.dumps(self.model_dump(exclude={"checksum"}), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    @field_validator("format")
    @classmethod
    def _require_format(cls, received: int) -> int:
        if received != FORMAT:
            raise ValueError(f"{FORMAT}, the format that this version reads")
        return received

    @field_validator("class_names")
    @classmethod
    def _require_names(cls, received: tuple[str, ...]) -> tuple[str, ...]:
        if not are_class_names(received):
            raise ValueError(NAMES)
        return received


def _write_about(folder: Path, about: _About) -> None:
    sealed = about.model_copy(update={"checksum": about.seal})
    (folder / CONFIG).write_text(json.dumps(sealed.model_dump(), indent=2) + "\n", encoding="utf-8")


def _read_about(folder: Path) -> _About:
    path = folder / CONFIG
    try:
        return _parsed(read_file(path, LARGEST_CONFIG), str(path))
    except FileNotFoundError:
        raise FmnistError(
            f"A checkpoint is a folder with {CONFIG} and {WEIGHTS}; there is no {path}. {_hint(folder)}"
        ) from None
    except OSError as error:
        raise FmnistError(
            f"{path} must be readable: {error.strerror}. Name the folder that holds {CONFIG} and {WEIGHTS}."
        ) from error


def _parsed(text: bytes, context: str) -> _About:
    try:
        return _About.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise FmnistError(f"{context} must be JSON: {first['ctx']['error']}. {_RETRY}") from None
        lines = [f"{context}: {line}" for line in refusals(error, _About)]
        raise FmnistError(listed([*lines, f"This version cannot read this checkpoint. {_RETRY}"])) from None


def _hint(folder: Path) -> str:
    if not folder.is_dir():
        return "That folder does not exist: check the path."
    checkpoints = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
    return f"Did you mean {str(folder / checkpoints[0])!r}?" if checkpoints else "Name another folder."


def _require_replaceable(folder: Path) -> None:
    if folder.is_dir():
        foreign = sorted({path.name for path in folder.iterdir()} - {WEIGHTS, CONFIG})
        if foreign:
            raise FmnistError(
                f"A checkpoint replaces only a checkpoint; {folder} also holds {foreign[0]!r}. Name another folder."
            )
    elif folder.exists():
        raise FmnistError(f"A checkpoint is a folder; {folder} is a file. Name another folder.")


def _require_checksum(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected:
        raise FmnistError(
            f"{path} ({path.stat().st_size:,} bytes) must have the SHA-256 in {CONFIG}, {expected[:12]}…, got "
            f"{digest[:12]}…. It is damaged or belongs to another {CONFIG}. {_RETRY}"
        )


def _tensors(config: TrialConfig, classes: int) -> Tensors:
    """Those of the network that `config` describes; none of them takes memory."""
    with torch.device("meta"):
        return {name: (tuple(t.shape), _DTYPES[t.dtype]) for name, t in build(config, classes).state_dict().items()}


def _bytes(tensors: Tensors) -> int:
    return sum(_SIZES[dtype] * math.prod(shape) for shape, dtype in tensors.values())


def _require_tensors(received: Tensors, expected: Tensors, file: str) -> None:
    wrong = [
        f"{name if name in expected else shown(name)} must be {_described(expected.get(name))}, got "
        f"{_described(received.get(name))}"
        for name in sorted(expected.keys() | received.keys())
        if expected.get(name) != received.get(name)
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise FmnistError(f"{file} does not fit its configuration: {'; '.join(wrong[:3])}{more}. {_RETRY}")


def _described(tensor: tuple[tuple[int, ...], str] | None) -> str:
    return f"{tensor[1]} {list(tensor[0])}" if tensor else "absent"


def _network(config: TrialConfig, weights: dict[str, Tensor], classes: int) -> Network:
    with torch.device("meta"):  # not drawn at random first, so that loading leaves PyTorch's generator alone
        model = build(config, classes)
    model.load_state_dict(weights, assign=True)
    return model.eval()
