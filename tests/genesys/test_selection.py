"""What the settings select: ids, names and media types, and the filters that follow from them."""

from __future__ import annotations

import re

import pytest

from exporter.genesys.selection import Selection, aggregate_filter, queue_predicates
from exporter.models import Queue


def predicate(dimension: str, value: str) -> dict[str, str]:
    return {"type": "dimension", "dimension": dimension, "operator": "matches", "value": value}


@pytest.mark.parametrize(
    ("ids", "include", "exclude", "taken"),
    [
        ((), None, None, "abcd"),
        (("a", "c"), None, None, "ac"),
        ((), "Sales", None, "ab"),
        ((), None, "Sales", "cd"),
        ((), "Sales", "North", "b"),
        ((), "^North", None, "c"),
        ((), "", None, "abcd"),
        ((), None, "", ""),
        (("a", "d"), "Sales", None, "a"),
        (("unknown",), None, None, ""),
    ],
)
def test_ids_and_patterns_narrow_the_directory_and_exclusion_wins(
    ids: tuple[str, ...], include: str | None, exclude: str | None, taken: str
) -> None:
    names = {"a": "Sales North", "b": "Sales South", "c": "North Support", "d": "Billing"}
    included, excluded = (None if pattern is None else re.compile(pattern) for pattern in (include, exclude))
    selection = Selection(ids, included, excluded)
    directory = selection.cut(Queue(queue_id, name, "") for queue_id, name in names.items())
    assert "".join(directory.queues) == taken
    assert "".join(queue_id for queue_id, name in names.items() if selection.takes(queue_id, name)) == taken


def test_patterns_match_anywhere_and_mind_their_flags() -> None:
    assert Selection(include=re.compile("port")).takes_name("North Support")
    assert not Selection(include=re.compile("SALES")).takes_name("Sales")
    assert Selection(include=re.compile("(?i)SALES")).takes_name("Sales")


@pytest.mark.parametrize(
    ("selection", "by_queue", "by_name"),
    [
        (Selection(), False, False),
        (Selection(("a",)), True, False),
        (Selection(include=re.compile("x")), True, True),
        (Selection(exclude=re.compile("x")), True, True),
        (Selection(media_types=("voice",)), False, False),
    ],
)
def test_queries_name_queues_only_where_queues_are_selected(
    selection: Selection, by_queue: bool, by_name: bool
) -> None:
    assert (selection.by_queue, selection.by_name) == (by_queue, by_name)


def test_no_media_types_are_all_of_them() -> None:
    assert Selection().takes_media("hologram")
    assert Selection(media_types=("voice",)).takes_media("voice")
    assert not Selection(media_types=("voice",)).takes_media("chat")


def test_the_filter_names_queues_and_media_types_in_two_levels_at_most() -> None:
    assert aggregate_filter((), ()) is None
    assert aggregate_filter(("a", "b"), ()) == {
        "type": "or",
        "predicates": [predicate("queueId", "a"), predicate("queueId", "b")],
    }
    assert aggregate_filter((), ("voice",)) == {"type": "or", "predicates": [predicate("mediaType", "voice")]}
    assert aggregate_filter(("a",), ("voice", "chat")) == {
        "type": "and",
        "clauses": [
            {"type": "or", "predicates": [predicate("queueId", "a")]},
            {"type": "or", "predicates": [predicate("mediaType", "voice"), predicate("mediaType", "chat")]},
        ],
    }
    assert queue_predicates(iter(["a"])) == {"type": "or", "predicates": [predicate("queueId", "a")]}


def test_the_digest_is_the_same_for_the_same_selection_alone() -> None:
    selections = [
        Selection(),
        Selection(("a", "b")),
        Selection(("a",)),
        Selection(include=re.compile("a")),
        Selection(exclude=re.compile("a")),
        Selection(media_types=("a",)),
    ]
    assert len({selection.digest for selection in selections}) == len(selections)
    assert Selection(("b", "a")).digest == Selection(("a", "b")).digest
    assert Selection(media_types=("b", "a")).digest == Selection(media_types=("a", "b")).digest
