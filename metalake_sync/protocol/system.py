"""Messages about the lake itself: compatibility, counts, jobs, errors."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field

from metalake_sync.protocol.wire import JobStatus, WireModel, WireRoot

_COUNTED = re.compile(r"(\d+) of (\d+) (?:files|images) updated")


class ErrorDetail(WireModel):
    status_code: int | None = None
    name: str | None = None
    message: str = ""


class ErrorAnswer(WireModel):
    """The body of every 4xx and 5xx."""

    error: ErrorDetail


class CompatibilityAnswer(WireModel):
    is_compatible: bool
    message: str | None = None


class JobStatusAnswer(WireModel):
    """`progress` is a percentage, 0 to 100; the published client formats it as a number."""

    is_success: bool = True
    job_id: str | None = None
    status: JobStatus
    progress: float = 0.0


class JobReport(WireModel):
    """What a client tells about its own long work (`updateJob`); the published one reports downloads."""

    job_name: str = ""
    session_id: str = ""
    job_type: int = 0
    progress: float = 0.0
    status: int = JobStatus.IN_PROGRESS
    job_specific_details: dict[str, Any] = Field(default_factory=dict)


class SimpleAnswer(WireModel):
    """An acknowledgement. A lake may refuse with 200 and `isSuccess: false`."""

    is_success: bool = True
    message: str | None = None

    def updated(self, total: int) -> int | None:
        """How many of `total` entries met a file, where the message counts them: "3 of 4 files updated"."""
        told = _COUNTED.match(self.message or "")
        return int(told[1]) if told and int(told[2]) == total else None


class AnyAnswer(WireRoot[object]):
    """An answer whose shape nobody outside the lake knows."""
