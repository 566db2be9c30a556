"""The generations of the protocol and their base paths.

A module of its own because `plan` without a lake needs only this part of the protocol, and no pydantic messages.
"""

from __future__ import annotations

import enum


class Generation(enum.IntEnum):
    """The generation of the protocol that a lake uses.

    The generation determines the base path of every call, but not the form of an answer: intermediate lakes exist, so
    the client accepts both forms of every answer from both generations. Source: `layernext` 2.3.4 (2) and
    `layernext-beta` 3.28.14 (3).
    """

    TWO = 2
    THREE = 3

    @property
    def other(self) -> Generation:
        return Generation.THREE if self is Generation.TWO else Generation.TWO


BASE_PATHS = {Generation.TWO: "/datalake", Generation.THREE: ""}
"""The part between the lake's URL and the path of a route."""

GENERATION_2_SUFFIX = BASE_PATHS[Generation.TWO]
"""Accepted, and ignored, at the end of the lake's URL in a manifest."""
