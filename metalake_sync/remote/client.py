"""The client of a lake: every call of the protocol as one method, with typed arguments, answers and errors.

The methods are in `calls`, by topic. Must not: batch, decide or remember anything. Safe to use from several threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from metalake_sync.protocol import routes
from metalake_sync.remote.address import LakeAddress
from metalake_sync.remote.calls.annotations import AnnotationCalls
from metalake_sync.remote.calls.base import NOT_FOUND_STATUSES
from metalake_sync.remote.calls.items import ItemCalls
from metalake_sync.remote.calls.metadata import MetadataCalls, Validation
from metalake_sync.remote.calls.uploads import UploadCalls
from metalake_sync.remote.connection import Connection
from metalake_sync.remote.request_counter import RequestCounter
from metalake_sync.remote.retry import Clock, RetryPolicy

if TYPE_CHECKING:
    from metalake_sync.remote.generation_detection import Greeting

__all__ = ["NOT_FOUND_STATUSES", "LakeClient", "Validation"]


class LakeClient(UploadCalls, ItemCalls, MetadataCalls, AnnotationCalls):
    """A client of one lake. Close it, or use it as a context manager.

    Every method may raise LakeUnreachable, CredentialsRefused, LakeRefused and LakeAnswerInvalid.
    """

    def __init__(
        self,
        address: LakeAddress,
        *,
        retry: RetryPolicy | None = None,
        counter: RequestCounter | None = None,
        pool_size: int = 64,
        clock: Clock | None = None,
    ) -> None:
        self._connection = Connection(
            address,
            retry=retry or RetryPolicy(),
            counter=counter or RequestCounter(),
            pool_size=pool_size,
            clock=clock or Clock(),
        )
        self.greeting: Greeting | None = None
        """The result of the last `greet`."""

    def __enter__(self) -> LakeClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    @property
    def address(self) -> LakeAddress:
        return self._connection.address

    @property
    def differences(self) -> Mapping[str, str]:
        """Call → how its answers deviated from the known form, for the calls that were made."""
        return self._connection.differences

    @property
    def lake_date(self) -> str | None:
        """The `Date` header of the last answer, or None."""
        return self._connection.lake_date

    def greet(self, *, pinned: bool = False, ignore_compatibility: bool = False) -> Greeting:
        """Detect the generation of the protocol that the lake speaks, and use it from then on.

        This is also the first check of address and credentials. It takes one request, and another one if the generation
        is not the assumed one. `pinned`: try only the generation of the address. Raises what
        `generation_detection.greet` raises.
        """
        from metalake_sync.remote.generation_detection import greet

        self.greeting = greet(self._connection, pinned=pinned, ignore_compatibility=ignore_compatibility)
        return self.greeting

    def system_details(self) -> object:
        """Return the number of images, videos and other files in the lake. The form is not specified."""
        return self._require(routes.SYSTEM_DETAILS).root
