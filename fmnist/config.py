"""TrialConfig: all settings of a training, and which of them a search may vary."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from fmnist.errors import FmnistError
from fmnist.knobs import Bounds, Choice, Knob, Range
from fmnist.refusals import listed, refusals
from fmnist.size import SIDE, Channels, Side, Size

Activation = Literal["relu", "gelu", "silu"]
Head = Literal["flatten", "max", "avg"]
Schedule = Literal["constant", "cosine", "triangle", "trapezoid"]
Convolution = Literal["full", "grouped", "separable", "inverted"]
Pool = Literal["before", "after", "stride"]

IMAGE_FIELDS = ("side", "channels")  # follow from [data] of the study: a network takes images of one size


class TrialConfig(BaseModel):
    """One point of the search space. The defaults are neutral: a plain CNN.

    A field with a Range or a Choice is a knob: `search.study.space` suggests it, and a study's TOML may narrow or pin
    it. The default of a new knob must have no effect, so that older checkpoints still load.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    # Network.
    depth: Annotated[int, Field(ge=1, le=4, description="stages, each halves the image"), Range(2, 4)] = 2
    blocks: Annotated[int, Field(ge=1, le=4, description="convolutions in a stage"), Range(1, 3)] = 1
    filters: Annotated[int, Field(ge=4, le=512, description="width of the first stage"), Range(16, 64, step=8)] = 32
    growth: Annotated[float, Field(ge=1, le=4, description="width of a stage over the one before"), Range(1.0, 2.0)] = (
        2.0
    )
    conv: Annotated[
        Convolution,
        Field(description="form of the convolutions after the first"),
        Choice(("full", "grouped", "separable", "inverted")),
    ] = "full"
    kernel_size: Annotated[Literal[3, 5], Field(description="side of each convolution"), Choice((3, 5))] = 3
    batch_norm: Annotated[bool, Field(description="normalise after each convolution"), Choice((True, False))] = False
    residual: Annotated[bool, Field(description="add a block's input to its output"), Choice((True, False))] = False
    activation: Annotated[Activation, Field(description="after each norm"), Choice(("relu", "gelu", "silu"))] = "relu"
    squeeze: Annotated[
        bool, Field(description="weigh the channels by squeeze-and-excitation"), Choice((True, False))
    ] = False
    pool: Annotated[
        Pool,
        Field(description="pool before or after the norm, or by a stride"),
        Choice(("before", "after", "stride")),
    ] = "after"
    init: Annotated[
        Literal["normal", "dirac"],
        Field(description="first weights, dirac: full convolutions pass on"),
        Choice(("normal", "dirac")),
    ] = "normal"
    head: Annotated[Head, Field(description="last stage to one vector"), Choice(("flatten", "max", "avg"))] = "flatten"
    hidden: Annotated[
        int, Field(ge=0, le=4096, description="units of a dense layer, 0 for none"), Choice((0, 64, 128))
    ] = 0
    mirror: Annotated[bool, Field(description="score the mean over an image and its mirror"), Choice((False, True))] = (
        False
    )
    translate: Annotated[
        Literal[0, 1], Field(description="pixels of the moves whose scores are averaged, too"), Choice((0, 1))
    ] = 0

    # Regularisation.
    dropout: Annotated[float, Field(ge=0, lt=1, description="share dropped before a dense layer"), Range(0.0, 0.6)] = (
        0.0
    )
    l2: Annotated[
        float, Field(ge=0, le=1, description="coupled in adam, decoupled in the others"), Range(1e-6, 1e-1, log=True)
    ] = 0.0
    augmentation: Annotated[
        float, Field(ge=0, le=1, description="strength of rotating and scaling images"), Range(0.0, 1.0)
    ] = 0.0
    flip: Annotated[
        Literal[False, True, "alternate"],
        Field(description="mirror half of the images, at random or in turn"),
        Choice((True, False, "alternate")),
    ] = False
    shift: Annotated[
        float, Field(ge=0, le=8, description="whole pixels that an image is moved by, at most"), Range(0.0, 2.0)
    ] = 0.0
    erase: Annotated[
        float, Field(ge=0, le=1, description="largest side of a box filled in half of the images"), Range(0.0, 0.5)
    ] = 0.0
    mixup: Annotated[
        float, Field(ge=0, le=1, description="largest share of another image mixed into each"), Range(0.0, 0.4)
    ] = 0.0
    label_smoothing: Annotated[
        float, Field(ge=0, lt=1, description="share of a one-hot target spread out"), Range(0.0, 0.2)
    ] = 0.0
    class_weights: Annotated[
        float,
        Field(ge=0, le=1, description="exponent of the class weights, 1: all classes count alike"),
        Range(0.0, 1.0),
    ] = 0.0
    ema: Annotated[
        float,
        Field(ge=0, lt=1, description="decay a step of the averaged weights, 0 for none"),
        Choice((0.0, 0.98, 0.995)),
    ] = 0.0

    # Optimisation.
    optimizer: Annotated[
        Literal["adam", "adamw", "muon"],
        Field(description="Adam, AdamW, or Muon for convolutions"),
        Choice(("adam", "adamw", "muon")),
    ] = "adam"
    learning_rate: Annotated[
        float, Field(gt=0, le=1, description="peak of the schedule"), Range(3e-4, 3e-2, log=True)
    ] = 1e-3
    beta2: Annotated[
        float, Field(ge=0.5, lt=1, description="decay of Adam's second moment"), Choice((0.9, 0.98, 0.999))
    ] = 0.999
    schedule: Annotated[
        Schedule, Field(description="of the learning rate"), Choice(("constant", "cosine", "triangle", "trapezoid"))
    ] = "constant"
    small_side: Annotated[
        Literal[14, 20], Field(description="side of the images in the first epochs, of 28 pixels"), Choice((14, 20))
    ] = 20
    small_epochs: Annotated[
        float, Field(ge=0, lt=1, description="share of the epochs on such images"), Range(0.0, 0.8)
    ] = 0.0
    batch_size: Annotated[int, Field(ge=8, le=4096, description="images a step"), Choice((64, 128, 256, 512))] = 128
    epochs: Annotated[int, Field(ge=1, le=1000, description="times that an epoch is trained")] = 10
    passes: Annotated[int, Field(ge=1, le=1000, description="passes over the training images in an epoch")] = 1

    # Images. No knobs: a study's configurations all have those of its data.
    side: Annotated[Side, Field(description="pixels of each side of an image")] = 28
    channels: Annotated[Channels, Field(description="of an image: 1 for grey, 3 for colour")] = 1

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, context: str) -> Self:
        """Validate `values`; missing fields get their defaults.

        Raises: FmnistError with a line for each error, naming `context`, the field, the rule and the value received.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise FmnistError(listed([f"{context}: {line}" for line in refusals(error, cls, noun="knob")])) from None

    @property
    def small_count(self) -> int:
        """Number of epochs on smaller images, at the start; the last epoch always trains at full size."""
        return min(round(self.small_epochs * self.epochs), self.epochs - 1)

    @property
    def size(self) -> Size:
        """The size of the images that the network takes."""
        return Size(self.side, self.channels)

    @property
    def first_side(self) -> int:
        """Pixels of each side of the images in the first epochs: of larger images the same share as of 28 pixels."""
        return round(self.small_side * self.side / SIDE)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage: filters * growth^i, rounded to a multiple of 8 after the first stage."""
        later = (max(8, round(self.filters * self.growth**i / 8) * 8) for i in range(1, self.depth))
        return (self.filters, *later)


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored configuration with the neutral defaults of the fields that its version did not have."""
    return {name: field.default for name, field in TrialConfig.model_fields.items()} | dict(config)


def knob_fields() -> dict[str, FieldInfo]:
    """Return the fields that a study may set under [knobs], searched or not, by name in the order of declaration."""
    return {name: field for name, field in TrialConfig.model_fields.items() if name not in IMAGE_FIELDS}


def bounds(name: str) -> Bounds:
    """Return the numbers that the field of that name may have at all."""
    found = Bounds()
    for mark in TrialConfig.model_fields[name].metadata:
        match mark:
            case Ge(ge=float() | int() as low):
                found = replace(found, low=low)
            case Gt(gt=float() | int() as low):
                found = replace(found, low=low, has_low=False)
            case Le(le=float() | int() as high):
                found = replace(found, high=high)
            case Lt(lt=float() | int() as high):
                found = replace(found, high=high, has_high=False)
    return found


@cache
def knobs() -> dict[str, Knob]:
    """Return the search range of each knob by name, in the order of declaration."""
    fields = TrialConfig.model_fields.items()
    return {name: mark for name, field in fields for mark in field.metadata if isinstance(mark, Range | Choice)}
