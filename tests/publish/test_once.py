"""Documents are made once, and kept in the form in which they are asked for."""

from __future__ import annotations

import asyncio
import gc
import gzip
import weakref

import pytest

from exporter.publish.once import Document, Once

TEXT = b"text " * 1000


class Made:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> bytes:
        self.times += 1
        return b"".join((TEXT, b"."))


@pytest.mark.parametrize("first", [True, False])
async def test_a_document_is_made_once_whichever_form_is_asked_for_first(first: bool) -> None:
    made = Made()
    document = Document(made)
    forms = (first, not first, first, not first)
    answers = [await document.get(gzip=packed) for packed in forms]
    texts = [gzip.decompress(answer) if packed else answer for answer, packed in zip(answers, forms, strict=True)]
    assert set(texts) == {TEXT + b"."}
    assert answers[0] is answers[2]
    assert answers[1] is answers[3]
    assert made.times == 1


async def test_the_text_is_not_kept_where_only_its_gzip_is_asked_for() -> None:
    document = Document(Made())
    packed = await document.get(gzip=True)
    assert document._plain is None
    assert len(packed) < len(TEXT) / 10


async def test_all_who_ask_at_the_same_time_wait_for_the_same() -> None:
    made = Made()
    document = Document(made)
    assert len({id(each) for each in await asyncio.gather(*(document.get(gzip=True) for _ in range(5)))}) == 1
    assert made.times == 1


async def test_what_could_not_be_made_is_not_there() -> None:
    def fail() -> bytes:
        raise ValueError("no")

    once = Once(fail)
    assert once.made is None
    with pytest.raises(ValueError, match="no"):
        await once.get()
    assert once.made is None


@pytest.mark.parametrize("forms", [(True,), (False,), (True, False), (False, True)])
async def test_a_document_goes_with_its_last_reference(forms: tuple[bool, ...]) -> None:
    """Not with a garbage collection many polls later: it may hold many megabytes."""
    document = Document(Made())
    for packed in forms:
        await document.get(gzip=packed)
    gone = weakref.ref(document)
    gc.disable()
    try:
        del document
        assert gone() is None
    finally:
        gc.enable()
