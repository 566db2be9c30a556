"""`validate` checks where the state is: without its store, and without the library of the store."""

from __future__ import annotations

import pytest

from tests.end_to_end.world import BIRDS, World


@pytest.fixture
def birds(world: World) -> World:
    world.images("a.png")
    world.manifest(BIRDS)
    return world


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("s3:acme-state/birds", "has no 's3://'"),
        ("ftp://acme/birds", "is not the address of a store"),
        ("s3://acme-state/birds?region=eu", "is not the address of a bucket"),
        ("gs://acme-state/a//b", "a part is empty"),
        ("postgresql://ci:hunter2@host/states", "must not contain a password"),
        ("postgresql://host", "does not name a database"),
        ("s3://acme-state/{nmae}", "unknown placeholder {nmae}"),
    ],
)
def test_an_invalid_address_is_an_error(birds: World, address: str, problem: str) -> None:
    for options in (["--state", address], []):
        if not options:
            birds.manifest(BIRDS, state=address)
        done = birds.run("validate", "manifest.yaml", *options)
        assert done.code == 64, done.out
        assert problem in done.err
        assert "hunter2" not in done.err
        # The line of the manifest, if it is there.
        assert options or "manifest.yaml:" in done.err
    assert birds.run("validate", "manifest.yaml", METALAKE_SYNC_STATE=address).code == 64


@pytest.mark.parametrize(
    "address",
    ["s3://acme-state/{name}", "gs://acme-state/birds", "azure://states/birds", "postgresql://ci@host/states/birds"],
)
def test_a_valid_address_needs_neither_a_store_nor_credentials(birds: World, address: str) -> None:
    birds.manifest(BIRDS, state=address)
    done = birds.good("validate", "manifest.yaml", "--json")
    assert done.document["warnings"] == []


def test_a_missing_library_is_a_warning(birds: World) -> None:
    # A package of this name without a spec hides the real one.
    birds.write("hidden/psycopg.py", "")
    birds.write("hidden/sitecustomize.py", "import sys\nsys.modules['psycopg'] = None\n")
    birds.manifest(BIRDS, state="postgresql://host/states/birds")
    done = birds.good("validate", "manifest.yaml", PYTHONPATH=str(birds.folder / "hidden"))
    assert "pip install 'metalake-sync[postgres]'" in done.out
