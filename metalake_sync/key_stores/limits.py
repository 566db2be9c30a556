"""How long calls to a store may take, and how much memory they may use. The tests shorten these times."""

from __future__ import annotations

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
ATTEMPTS = 4
"""Of one call, with the SDK's own pauses in between."""
PAUSE_BASE_S = 2
"""The pauses between attempts of Azure's SDK are powers of this."""
RETRY_S = 30
"""Google's SDK counts seconds instead of attempts: after this time it does not start another one."""

CHUNK_BYTES = 1 << 20
PART_BYTES = 8_000_000
"""Larger bodies are sent in parts. S3 accepts at most 10,000 parts, so a body may have 80 GB."""

CALLS_AT_ONCE = 16
"""Of the embedded lake, in threads."""
DELETIONS_AT_ONCE = 8
"""The SDKs of Azure and Google keep ten connections open, and log a warning about each further one."""
KEYS_PER_PAGE = 1000
"""The most that every store allows."""
