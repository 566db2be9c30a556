"""Rejections: the answers of the lake to calls that it cannot carry out."""

from __future__ import annotations


class Rejection(Exception):
    """Answered as `{"error": {"statusCode", "name", "message", "details"}}`. Most have no details."""

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


class NoContent(Exception):
    """Answered as 204 without a body."""


def not_acceptable(message: str) -> Rejection:
    return Rejection(406, "NotAcceptableError", message)


def not_found(message: str) -> Rejection:
    return Rejection(404, "NotFoundError", message)


def conflict(message: str) -> Rejection:
    return Rejection(409, "ConflictError", message)


def bad_request(message: str) -> Rejection:
    return Rejection(400, "BadRequestError", message)


def forbidden(message: str) -> Rejection:
    return Rejection(403, "AccessDenied", message)


def disk_full() -> Rejection:
    return Rejection(507, "InsufficientStorageError", "The lake's disk is full")
