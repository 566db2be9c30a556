"""How long and how large an answer may be, for both HTTP libraries. Time is bounded by silence, and by size."""

from __future__ import annotations

CONNECT_TIMEOUT_S = 10.0

STALL_S = 120.0
"""A connection on which nothing moves for so long is given up."""

ANSWER_TIME_S = 600.0
"""The whole of a lake's answer, from the request's last byte; a steady drip does not make it longer."""

SLOWEST_BYTES_S = 1024.0
"""Bytes of a file that move more slowly on a connection than this are no movement."""

PIECE_BYTES = 128 << 10
"""What is handed to a connection at once: small enough that the slowest takes it within the time of a stall."""

BUFFERED_BYTES = 256 << 10
"""So much may lie in the system's buffers when the last piece is handed over."""
