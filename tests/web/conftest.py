from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.world import World
from tests.report.test_commands import applied
from tests.web.site import Site, served


@pytest.fixture
def annotated(world: World) -> World:
    """Two images with boxes, in the lake."""
    return applied(world)


@pytest.fixture
def site(annotated: World) -> Iterator[Site]:
    """The pages of `annotated`, in a browser that has the cookie."""
    with served(annotated) as found:
        yield found.enter()
