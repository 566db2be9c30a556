"""What a lake says when it can't do what it is asked."""

from __future__ import annotations


class Refusal(Exception):
    """Answered as `{"error": {"statusCode", "name", "message", "details"}}`; most have no details."""

    def __init__(self, status: int, name: str, message: str, *, details: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.name = name
        self.message = message
        self.details = details

    @property
    def body(self) -> dict[str, object]:
        error: dict[str, object] = {"statusCode": self.status, "name": self.name, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return {"error": error}


class NothingThere(Exception):
    """Answered as 204."""


def not_acceptable(message: str) -> Refusal:
    return Refusal(406, "NotAcceptableError", message)


def not_found(message: str) -> Refusal:
    return Refusal(404, "NotFoundError", message)


def conflict(message: str) -> Refusal:
    return Refusal(409, "ConflictError", message)


def bad_request(message: str) -> Refusal:
    return Refusal(400, "BadRequestError", message)


def forbidden(message: str) -> Refusal:
    return Refusal(403, "AccessDenied", message)


def disk_full() -> Refusal:
    return Refusal(507, "InsufficientStorageError", "The lake's disk is full")
