"""Fixtures for all tests of annotations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.annotations.opened import close_all


@pytest.fixture(autouse=True)
def _closed_afterwards() -> Iterator[None]:
    yield
    close_all()
