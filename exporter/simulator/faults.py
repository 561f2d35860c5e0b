"""Faults on demand."""

from __future__ import annotations


class Faults:
    def __init__(self, seed: int) -> None:
        self.seed = seed
