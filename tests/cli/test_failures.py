"""What is said of items that failed."""

from __future__ import annotations

import pytest

from metalake_sync.cli.failures import SHOWN_OF_A_KIND, Failures, item_of
from metalake_sync.core.snapshots import AnnotationKind, MediaType, RecordedSet
from metalake_sync.core.unmanaged_files import Address, By, ClearEntry


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_one_reason_is_told_of_ten_items_and_the_rest_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    failures = Failures(everything=False, json_log=False)
    for number in range(50):
        failures.tell(f"{number}.png", "no such bucket")
    failures.tell("a.png", "it answered 406")
    failures.close()
    told = lines(capsys)
    assert len(told) == SHOWN_OF_A_KIND + 2
    assert told[0] == "failed: 0.png: no such bucket"
    assert told[-2:] == ["failed: a.png: it answered 406", "failed: … and 40 more: no such bucket"]
    failures.close()
    assert lines(capsys) == []


@pytest.mark.parametrize("json_log", [True, False])
def test_every_item_is_named_where_that_is_wanted(capsys: pytest.CaptureFixture[str], json_log: bool) -> None:
    failures = Failures(everything=not json_log, json_log=json_log)
    for number in range(50):
        failures.tell(f"{number}.png", "no such bucket")
    failures.close()
    assert len(lines(capsys)) == 50


@pytest.mark.parametrize(
    ("address", "name", "expected"),
    [
        (Address(By.STORAGE_PATH, "b"), "/dir/a.png", "/dir/a.png"),
        (Address(By.COLLECTION, "birds", MediaType.IMAGE), "a.png", "birds/a.png"),
    ],
)
def test_an_item_of_no_collection_stands_alone(address: Address, name: str, expected: str) -> None:
    assert item_of(ClearEntry(address, name, RecordedSet("op", AnnotationKind.HUMAN, "d", 1))) == expected
