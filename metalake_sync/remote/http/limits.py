"""Limits in time and size of requests and responses, for both HTTP libraries.

A transfer may take as long as bytes keep moving. A module of its own, because the synchronous client must not import
asyncio, which `bodies` needs.
"""

from __future__ import annotations

CONNECT_TIMEOUT_S = 10.0
"""Seconds to establish a connection."""

STALL_S = 120.0
"""A connection without any movement for this many seconds is aborted."""

ANSWER_TIME_S = 600.0
"""Seconds for a lake's whole answer, from the last byte of the request, even if bytes keep arriving slowly."""

SLOWEST_BYTES_S = 1024.0
"""A slower transfer of a file, in bytes per second, counts as stalled."""

PIECE_BYTES = 128 << 10
"""How much is passed to a connection at once. The slowest connection takes it within STALL_S."""

BUFFERED_BYTES = 256 << 10
"""How much may still be in the system's buffers after the last piece was passed on."""
