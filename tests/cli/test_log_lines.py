"""The output of failed items."""

from __future__ import annotations

import pytest

from metalake_sync.cli.listeners import item_of
from metalake_sync.cli.log_lines import SHOWN_OF_A_KIND, Failures
from metalake_sync.core.actions import RemoveAnnotations
from metalake_sync.core.addresses import Address, By, FileAt
from metalake_sync.core.snapshots import AnnotationKind, MediaType, RecordedSet


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_the_first_ten_items_of_a_reason_are_named_and_the_rest_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    failures = Failures(everything=False, json_log=False)
    for number in range(50):
        failures.report(f"{number}.png", "no such bucket")
    failures.report("a.png", "it answered 406")
    failures.close()
    printed = lines(capsys)
    assert len(printed) == SHOWN_OF_A_KIND + 2
    assert printed[0] == "failed: 0.png: no such bucket"
    assert printed[-2:] == ["failed: a.png: it answered 406", "failed: … and 40 more: no such bucket"]
    failures.close()
    assert lines(capsys) == []


@pytest.mark.parametrize("json_log", [True, False])
def test_every_item_is_named_with_verbose_or_in_a_json_log(capsys: pytest.CaptureFixture[str], json_log: bool) -> None:
    failures = Failures(everything=not json_log, json_log=json_log)
    for number in range(50):
        failures.report(f"{number}.png", "no such bucket")
    failures.close()
    assert len(lines(capsys)) == 50


@pytest.mark.parametrize(
    ("address", "name", "expected"),
    [
        (Address(By.STORAGE_PATH, "b"), "/dir/a.png", "/dir/a.png"),
        (Address(By.COLLECTION, "birds", MediaType.IMAGE), "a.png", "birds/a.png"),
    ],
)
def test_an_item_is_named_with_its_collection_if_it_has_one(address: Address, name: str, expected: str) -> None:
    assert (
        item_of(RemoveAnnotations(FileAt(address, name), RecordedSet("op", AnnotationKind.HUMAN, "d", 1))) == expected
    )
