"""Dates in a lake's answers, in the forms that a lake may write them."""

from __future__ import annotations

import pytest

from metalake_sync.remote.item_details import sortable_date

NOON = "2026-01-31T12:00:00.250Z"


@pytest.mark.parametrize(
    "written",
    [
        "2026-01-31T12:00:00.250Z",
        "2026-01-31 12:00:00.250",
        "2026-01-31T13:30:00.250999+01:30",
        {"$date": "2026-01-31T12:00:00.250Z"},
        {"$date": {"$numberLong": "1769860800250"}},
        1769860800250,
        1769860800.25,
        "1769860800250",
    ],
)
def test_every_readable_form_of_a_date_becomes_the_same_text(written: object) -> None:
    assert sortable_date(written) == NOON


@pytest.mark.parametrize(
    "written", [None, "", "on day 334 of 2026", "31.01.2026", True, [], {}, {"$date": None}, 1e300, "²"]
)
def test_an_unreadable_date_is_empty(written: object) -> None:
    assert sortable_date(written) == ""


def test_date_texts_sort_by_time() -> None:
    moments = [
        1769860800249,
        "2026-01-31T12:00:00.250Z",
        {"$date": "2026-01-31T13:30:00.251+01:30"},
        "2026-02-01 00:00:00",
    ]
    texts = [sortable_date(moment) for moment in moments]
    assert texts == sorted(texts)
