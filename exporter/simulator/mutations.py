"""Payloads that no service should send, but some day one does.

In: a decoded answer (aggregates, observations, summary or a listing). Out: the same with its first rows spoiled, so
that the rows after them show whether a reader throws away too much. One table, `MUTATIONS`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

Row = dict[str, Any]
Payload = dict[str, Any]

#: Beyond 64 bits: neither a count nor a float that could hold one exactly.
ENORMOUS = 10**30
UNKNOWN_MEDIA_TYPE = "hologram"


def _changing_numbers(change: Callable[[Any], Any]) -> Callable[[Row], list[Row]]:
    def change_row(row: Row) -> list[Row]:
        return [_with_numbers(row, change)]

    return change_row


def _with_numbers(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {name: _with_numbers(part, change) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_numbers(part, change) for part in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return change(value) if is_number else value


def _twice(row: Row) -> list[Row]:
    return [row, copy.deepcopy(row)]


def _without_id(row: Row) -> list[Row]:
    group = {name: value for name, value in row.get("group", {}).items() if name != "queueId"}
    rest = {name: value for name, value in row.items() if name != "id"}
    return [rest | ({"group": group} if "group" in row else {})]


def _of_unknown_media(row: Row) -> list[Row]:
    if "group" not in row:
        return [row]
    return [row | {"group": row["group"] | {"mediaType": UNKNOWN_MEDIA_TYPE}}]


def _outside_the_interval(row: Row) -> list[Row]:
    """The row once more, a week before what was asked for."""
    moved = copy.deepcopy(row)
    for cell in moved.get("data", []):
        if "interval" in cell:
            cell["interval"] = _a_week_earlier(cell["interval"])
    if "timeInterval" in moved:
        moved["timeInterval"] = _a_week_earlier(moved["timeInterval"])
    return [row, moved]


def _a_week_earlier(interval: str) -> str:
    return "/".join(_moved(part) if part[:1].isdigit() else part for part in interval.split("/"))


def _moved(instant: str) -> str:
    moment = datetime.fromisoformat(instant) - timedelta(days=7)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _on_rows(change: Callable[[Row], list[Row]]) -> Callable[[Payload, int | None], Payload]:
    def mutate(payload: Payload, rows: int | None) -> Payload:
        name = "results" if "results" in payload else "entities"
        every = payload.get(name, [])
        if not isinstance(every, list):  # another fault has been here before
            return payload
        spoiled = [changed for row in every[:rows] for changed in change(row)]
        return payload | {name: spoiled + (every[rows:] if rows is not None else [])}

    return mutate


MUTATIONS: dict[str, Callable[[Payload, int | None], Payload]] = {
    "negative_counts": _on_rows(_changing_numbers(lambda number: -abs(number) - 1)),
    "numbers_as_strings": _on_rows(_changing_numbers(str)),
    "fractional_counts": _on_rows(_changing_numbers(lambda number: number + 0.5)),
    "nan_literal": _on_rows(_changing_numbers(lambda number: float("nan"))),
    "enormous_counts": _on_rows(_changing_numbers(lambda number: ENORMOUS)),
    "null_numbers": _on_rows(_changing_numbers(lambda number: None)),
    "duplicate_rows": _on_rows(_twice),
    "missing_ids": _on_rows(_without_id),
    "unknown_media": _on_rows(_of_unknown_media),
    "outside_interval": _on_rows(_outside_the_interval),
    "not_an_array": lambda payload, rows: dict.fromkeys(payload, "soon"),
}
