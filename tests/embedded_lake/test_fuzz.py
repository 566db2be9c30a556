"""Any request gets an answer of the protocol, never a 500, and the lake continues to work."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from metalake_sync.protocol import annotation_sets, items, routes, uploads, wire
from metalake_sync.protocol.routes import Route
from metalake_sync.protocol.wire import WireModel
from tests.embedded_lake.talk import Talk, lake_at, png

ROUTES = {name: route for name, route in vars(routes).items() if isinstance(route, Route)}

KEYS = sorted(
    {
        field.alias or name
        for module in (annotation_sets, items, uploads, wire)
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, WireModel)
        for name, field in model.model_fields.items()
    }
)

# Values that a server may receive and does not expect: ids, names, queries, dates and numbers.
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        "",
        "birds",
        "birds_a.png",
        "a.png",
        "../../etc/passwd",
        "/" * 300,
        "\x00",
        "\ud800",
        "annotation.label=",
        "metadata.Tags=x && metadata.=",
        "metadata.City=' OR 1=1 --",
        "2022-01-01T00:00:00.000Z",
        "99999-99-99",
        "6b06f941000000000000abcd",
        -1,
        0,
        5,
        1 << 63,
        1e308,
        True,
        None,
        [],
        {},
        "x" * 5000,
    ]
)
VALUES = st.recursive(
    ODD | st.text(max_size=8) | st.integers() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
BODIES = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), VALUES, max_size=8) | VALUES
WORDS = ODD.filter(lambda word: isinstance(word, str)).map(lambda word: str(word)[:300]) | st.text(max_size=10)


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    with lake_at(tmp_path_factory.mktemp("fuzz")) as talk:
        talk.upload({"a.png": png()}, "birds")
        yield talk


def ask(talk: Talk, route: Route[Any], body: object, words: dict[str, str], query: dict[str, str]) -> None:
    try:
        path = route.at(min(route.bases), **words)
    except UnicodeEncodeError:
        return
    text = json.dumps(body).encode() if not isinstance(body, bytes) else body
    response = talk.http.request(
        route.method,
        talk.url + path,
        data=text,
        params={key: value.encode("utf-8", "replace") for key, value in query.items()},
        headers={"Content-Type": "application/json"},
        timeout=30,
    )
    assert response.status_code < 500, (route.path, response.status_code, response.text)
    if response.status_code >= 400:
        assert set(response.json()["error"]) >= {"statusCode", "name", "message"}


@pytest.mark.parametrize("name", sorted(ROUTES))
@given(data=st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_body_gets_an_answer(stocked: Talk, name: str, data: st.DataObject) -> None:
    _fuzz(stocked, name, data)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(ROUTES))
@given(data=st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_of_many_bodies_gets_an_answer(stocked: Talk, name: str, data: st.DataObject) -> None:
    _fuzz(stocked, name, data)


def _fuzz(talk: Talk, name: str, data: st.DataObject) -> None:
    route = ROUTES[name]
    body = data.draw(BODIES | st.binary(max_size=30), label="body")
    words = data.draw(st.fixed_dictionaries(dict.fromkeys(re.findall(r"\{(\w+)\}", route.path), WORDS)))
    query = data.draw(st.dictionaries(st.sampled_from(KEYS), WORDS, max_size=3), label="query")
    ask(talk, route, body, words, query)


METHODS = st.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH"])


@given(path=st.text(st.characters(exclude_categories=["Cs"]), max_size=40), method=METHODS)
@example(path="..%2f..%2flake.db", method="GET")
@example(path="objects/..%2f..%2flake.db?expires=9999999999&signature=00", method="GET")
@example(path="objects/%00", method="PUT")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_path_below_storage_is_rejected_without_a_signature(stocked: Talk, path: str, method: str) -> None:
    response = stocked.http.request(method, f"{stocked.url}/storage/{path}", data=b"x", timeout=30)
    assert response.status_code in (400, 403, 404, 405), (path, response.status_code)
