"""A drawing as vectors: SVG, alone or in a page of its own."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from exporter.analysis.backtest.shapes import Area, Drawing, Line, Point, Shape, Text


def page(drawing: Drawing) -> bytes:
    """A page that shows it."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(drawing.title)}</title>'
        "<style>body{margin:1rem;background:#fff}svg{max-width:100%;height:auto}</style>"
        f"{svg(drawing).decode()}</html>\n"
    ).encode()


def svg(drawing: Drawing) -> bytes:
    """The drawing alone."""
    drawn = "".join(map(_drawn, drawing.shapes))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {drawing.width} {drawing.height}" role="img"'
        f' font-family="system-ui,sans-serif" font-size="12"><title>{escape(drawing.title)}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{drawn}</svg>'
    ).encode()


def _drawn(shape: Shape) -> str:
    if isinstance(shape, Text):
        place = f'x="{shape.x:.1f}" y="{shape.y:.1f}" text-anchor="{shape.anchor}" fill="{shape.colour}"'
        return f"<text {place}>{escape(shape.text)}</text>"
    if isinstance(shape, Line):
        return f'<polyline points="{_points(shape.points)}" fill="none" stroke="{shape.colour}"/>'
    if isinstance(shape, Area):
        return f'<polygon points="{_points([*shape.high, *reversed(shape.low)])}" fill="{shape.colour}"/>'
    place = f'cx="{shape.x:.1f}" cy="{shape.y:.1f}" r="{shape.radius:g}" fill="{shape.colour}"'
    return f"<circle {place}><title>{escape(shape.told)}</title></circle>"


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
