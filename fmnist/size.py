"""The size of images: pixels of each side, and channels."""

from typing import Literal, NamedTuple

SIDE = 28  # of Fashion-MNIST's images, and of those that are drawn by code
Side = Literal[28, 32, 48, 64]
Channels = Literal[1, 3]


class Size(NamedTuple):
    """Pixels of each side of an image, and its channels: 1 for grey, 3 for red, green and blue."""

    side: Side = 28
    channels: Channels = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image as an array: [side, side], in colour [side, side, 3]."""
        return (self.side, self.side) if self.channels == 1 else (self.side, self.side, self.channels)

    @property
    def bytes(self) -> int:
        """Bytes of one image, a byte for each channel of each pixel."""
        return self.side**2 * self.channels

    @property
    def dimensions(self) -> str:
        """Height and width in words: "28 x 28"."""
        return f"{self.side} x {self.side}"

    @property
    def colour(self) -> str:
        """The channels in words: "grey" or "colour"."""
        return "grey" if self.channels == 1 else "colour"

    def __str__(self) -> str:
        return f"{self.dimensions} pixels, {self.colour}"


DEFAULT_SIZE = Size()  # of studies that do not say another one, and of all older records
