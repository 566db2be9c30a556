"""Messages about the lake itself: compatibility, counts, jobs and errors."""

from __future__ import annotations

import math
import re
from typing import Any

from pydantic import Field, field_validator, model_validator

from metalake_sync.protocol.wire import JobStatus, WireModel, WireRoot, number_in

_COUNTED = re.compile(r"(\d+) of (\d+) (?:files|images) updated")


class ErrorDetail(WireModel):
    status_code: int | None = None
    name: str | None = None
    message: str = ""


class ErrorAnswer(WireModel):
    """The body of every answer with a 4xx or 5xx status."""

    error: ErrorDetail


class CompatibilityAnswer(WireModel):
    is_compatible: bool
    message: str | None = None


class JobStatusAnswer(WireModel):
    is_success: bool = True
    job_id: str | None = None
    status: JobStatus
    progress: float = 0.0
    """A percentage from 0 to 100. The published client formats it as a number."""

    @field_validator("status", mode="before")
    @classmethod
    def _by_name_too(cls, value: object) -> object:
        """Accept the number, also as text, or the name of the status in any letter case."""
        number = number_in(value)
        if number is not None:
            return number
        return JobStatus.__members__.get(value.strip().upper(), value) if isinstance(value, str) else value

    @field_validator("progress", mode="before")
    @classmethod
    def _unreadable_progress_is_none(cls, value: object) -> object:
        """No decision depends on the progress."""
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return 0.0
        return number if math.isfinite(number) else 0.0


class JobReport(WireModel):
    """A report on the client's own long-running work (`updateJob`). The published client reports downloads."""

    job_name: str = ""
    session_id: str = ""
    job_type: int = 0
    progress: float = 0.0
    status: int = JobStatus.IN_PROGRESS
    job_specific_details: dict[str, Any] = Field(default_factory=dict)


class SimpleAnswer(WireModel):
    """An acknowledgement. Any JSON value counts as success.

    A lake may reject a call with status 200 and `isSuccess: false`. `answers.read_answer` checks that first.
    """

    is_success: bool = True
    message: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _any_form(cls, value: Any) -> Any:
        message = value.get("message") if isinstance(value, dict) else None
        return {"message": message if isinstance(message, str) else None}

    def updated(self, total: int) -> int | None:
        """Return how many of `total` entries matched a file, if the message says so: "3 of 4 files updated"."""
        counted = _COUNTED.match(self.message or "")
        return int(counted[1]) if counted and int(counted[2]) == total else None


class AnyAnswer(WireRoot[object]):
    """An answer of unpublished form."""
