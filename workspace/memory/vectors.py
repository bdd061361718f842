"""Vectors: 32-bit floats, which is what the engines store and a third of what Python's own lists take."""

import base64
import math
from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Vector = array[float]
    """Of type code `f`."""
else:
    Vector = array  # which takes no parameters before Python 3.12

BYTES_PER_DIMENSION = 4


def vector_of(values: Iterable[float]) -> Vector:
    """Return a vector of some numbers."""
    return array("f", values)


def from_bytes(data: bytes) -> Vector:
    """Return a vector from its bytes, little-endian as every machine is that this runs on.

    Raises:
        ValueError: their number is not one of 32-bit floats.
    """
    vector = array("f")
    vector.frombytes(data)
    return vector


def to_text(vector: Vector) -> str:
    """Return a vector as it stands in JSON: a third of its length as numbers, and exact."""
    return base64.b64encode(vector.tobytes()).decode()


def from_text(text: str) -> Vector:
    """Return a vector from base64.

    Raises:
        ValueError: it is none.
    """
    return from_bytes(base64.b64decode(text, validate=True))


def is_usable(vector: Vector, dimensions: int) -> bool:
    """Whether it has the right number of numbers, all finite, and none so large that engines lose count."""
    return len(vector) == dimensions and math.hypot(*vector) < _LONGEST


_LONGEST = 1e15
"""Beyond this an engine that sums squares in 32 bits overflows. Not a number and infinity are not below it either."""
