"""What a picture is made of, before it is vectors or pixels; y grows downwards, as on a screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text; `y` is its foot, `anchor` says which part of it `x` is: start, middle or end."""

    x: float
    y: float
    text: str
    anchor: str
    colour: str


@dataclass(frozen=True, slots=True)
class Line:
    """A thin line from left to right."""

    points: Sequence[Point]
    colour: str


@dataclass(frozen=True, slots=True)
class Area:
    """What lies between two lines with the same x, from left to right."""

    high: Sequence[Point]
    low: Sequence[Point]
    colour: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A disc; `told` is shown where one points at it."""

    x: float
    y: float
    radius: float
    colour: str
    told: str


Shape = Text | Line | Area | Dot


@dataclass(frozen=True, slots=True)
class Drawing:
    """Shapes in the order in which they are drawn."""

    title: str
    width: int
    height: int
    shapes: tuple[Shape, ...]
