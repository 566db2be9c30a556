"""The generations of the protocol, and the base path of each. Imports nothing that takes time to load."""

from __future__ import annotations

import enum


class Generation(enum.IntEnum):
    """Which generation of the protocol a lake speaks. Source: `layernext` 2.3.4 (2) and `layernext-beta` 3.28.14 (3).

    The generation decides the base path of every call. The form of an answer is not decided by it: lakes between the
    two exist, so the client accepts either form of every answer from either generation.
    """

    TWO = 2
    THREE = 3

    @property
    def other(self) -> Generation:
        return Generation.THREE if self is Generation.TWO else Generation.TWO


BASE_PATHS = {Generation.TWO: "/datalake", Generation.THREE: ""}
"""What stands between the lake's URL and the path of a route."""

GENERATION_2_SUFFIX = BASE_PATHS[Generation.TWO]
"""A user may write it at the end of the lake's URL."""
