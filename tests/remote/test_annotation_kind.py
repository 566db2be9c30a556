"""Section 2.7 of the vendor's page: the annotation type has an effect only without operations."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

import pytest

from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.client import LakeClient
from tests.remote.bare_server import serve

EMPTY_PAGE = b'{"data": {"identifier": "c", "groupUniqueName": "c", "rawFileName": "c.json", "nextPage": false}}'


@pytest.mark.parametrize(("operations", "sent"), [([], "human"), (["yolo"], "all"), (["yolo", "people"], "all")])
def test_the_annotation_kind_is_sent_only_without_operations(operations: Sequence[str], sent: str) -> None:
    with serve(lambda line: line.answer(200, EMPTY_PAGE)) as server:
        with LakeClient(LakeAddress(server.url, "key", "secret")) as client:
            client.download_annotations("c", page=0, operations=operations, annotation_kind="human")
        query = parse_qs(urlsplit(server.asked[0].target).query)
    assert query["annotationType"] == [sent]
