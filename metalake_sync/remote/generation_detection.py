"""Detects the generation of the protocol that a lake speaks, with the first call of a run.

Owns: the choice of the base path, and the meaning of the compatibility call. The first call uses the pinned, remembered
or assumed generation. If no lake answers, another call uses the other generation. Rejected credentials (401) never
count as another generation. Must not: remember anything.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from metalake_sync.core.notes import Note, NoteCode
from metalake_sync.errors import LakeAnswerInvalid, LakeRejected, SyncError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.protocol import routes
from metalake_sync.protocol.routes import BASE_PATHS, Generation
from metalake_sync.protocol.wire import CLIENT_VERSION
from metalake_sync.remote.answers import is_json, read_answer
from metalake_sync.remote.classify import Done, Outcome, RawResponse, Retry

if TYPE_CHECKING:
    from metalake_sync.remote.connection import Connection

PIN_REMEDY = "Set 'remote.generation: auto', or correct 'remote.url'."

_FIRST_CALLS: Mapping[Generation, tuple[routes.Route[Any], Mapping[str, str]]] = {
    Generation.TWO: (routes.COMPATIBILITY, {"version": CLIENT_VERSION}),
    # The client of generation 3 has no compatibility call. Both generations have this call, and it needs credentials.
    Generation.THREE: (routes.SYSTEM_DETAILS, {}),
}


class Fit(enum.Enum):
    """Whether a response comes from a lake of the expected generation."""

    YES = "yes"
    """A lake answered."""
    UNSURE = "unsure"
    """A server that answers in JSON does not know the call."""
    NO = "no"
    """A proxy or another server answered."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """The result of a run's first call."""

    generation: Generation
    notes: tuple[Note, ...] = ()
    """At most one: compatibility is not confirmed."""


def fit_of(response: RawResponse) -> Fit:
    """Classify by status and body only: a lake answers in JSON, or with an empty body."""
    if response.status == 401:
        return Fit.YES
    # Gateways answer 403, in HTML or JSON, for unknown paths. A lake may mean the credentials.
    if 300 <= response.status < 400 or response.status == 403:
        return Fit.NO
    if not response.body.strip():
        return Fit.YES if response.status < 300 else Fit.NO
    if not is_json(response.body):
        return Fit.NO
    return Fit.UNSURE if response.status == 404 else Fit.YES


def greet(connection: Connection, *, pinned: bool = False, ignore_compatibility: bool = False) -> Greeting:
    """Call the lake, and switch `connection` to the generation that answers.

    `pinned`: try only the generation of the connection's address. `ignore_compatibility`: continue if the lake says
    that it is not compatible. Raises CredentialsRejected, LakeUnreachable, SyncError for an incompatible lake, and
    LakeAnswerInvalid if no MetaLake answers.
    """
    assumed = connection.address.generation
    candidates = (assumed,) if pinned else (assumed, assumed.other)

    def look() -> _Found | LakeAnswerInvalid:
        found = _look(connection, candidates)
        if isinstance(found, _Found):
            return found
        error = _no_lake(connection, found, pinned)
        if not any(response.status < 300 for response in found.values()):
            raise error
        return error

    def classify(found: _Found | Exception) -> Outcome[_Found]:
        match found:
            case LakeAnswerInvalid():
                # A proxy may answer with a page for a moment.
                return Retry(found.message, invalid=found)
            case Exception():
                raise found
        return Done(found)

    found = connection.repeat(look, classify)
    return _settle(connection, found.generation, found.response, ignore_compatibility)


@dataclass(frozen=True, slots=True)
class _Found:
    """A lake, and its response to the first call of its generation."""

    generation: Generation
    response: RawResponse


def _look(connection: Connection, candidates: Sequence[Generation]) -> _Found | dict[Generation, RawResponse]:
    """Ask the generations in turn. Returns the lake that answers, or all responses if none does."""
    responses: dict[Generation, RawResponse] = {}
    for generation in candidates:
        response = responses[generation] = _ask(connection, generation)
        if fit_of(response) is Fit.YES:
            return _Found(generation, response)
    for generation, response in responses.items():
        if fit_of(response) is Fit.UNSURE:
            return _Found(generation, response)
    missing = responses.get(Generation.TWO)
    # A lake of generation 2 may lack the compatibility call. Another call shows whether a lake answers.
    if (
        missing is not None
        and missing.status == 404
        and fit_of(_ask(connection, Generation.TWO, routes.SYSTEM_DETAILS)) is Fit.YES
    ):
        return _Found(Generation.TWO, missing)
    return responses


def _ask(connection: Connection, generation: Generation, other: routes.Route[Any] | None = None) -> RawResponse:
    """Make the first call of a generation, or another call without parts."""
    route, parts = (other, {}) if other is not None else _FIRST_CALLS[generation]
    return connection.probe(route, replace(connection.address, generation=generation).url_of(route, **parts))


def _settle(
    connection: Connection, generation: Generation, response: RawResponse, ignore_compatibility: bool
) -> Greeting:
    connection.address = replace(connection.address, generation=generation)
    route, _ = _FIRST_CALLS[generation]
    try:
        answer = read_answer(route, response.status, response.body)
    except (LakeRejected, LakeAnswerInvalid) as error:
        if generation is Generation.THREE:
            # No decision depends on the counts of the system.
            return Greeting(generation)
        return Greeting(generation, (_unconfirmed(error.message),))
    if generation is Generation.THREE:
        return Greeting(generation)
    if answer is None:
        return Greeting(generation, (_unconfirmed("the answer is empty"),))
    if answer.is_compatible:
        return Greeting(generation)
    if answer.message and not ignore_compatibility:
        raise SyncError(
            f"the lake says that it is not compatible with version {CLIENT_VERSION} of the protocol: {answer.message}",
            where=connection.address.url,
            remedy="To continue anyway, use --ignore-compatibility.",
        )
    return Greeting(generation, (_unconfirmed(answer.message or "it answers no, without a reason"),))


def _unconfirmed(why: str) -> Note:
    return Note(
        NoteCode.COMPATIBILITY,
        f"the lake does not confirm that it is compatible with version {CLIENT_VERSION} of the protocol ({why})",
    )


def _no_lake(connection: Connection, answers: Mapping[Generation, RawResponse], pinned: bool) -> LakeAnswerInvalid:
    """Return the error for an address where no MetaLake answers. Raises CredentialsRejected if that is the reason."""
    for generation, response in answers.items():
        redirected = all(300 <= one.status < 400 for one in answers.values())
        if response.status == 403 or redirected:
            # This raises the error of these statuses, which does not depend on the generation.
            read_answer(_FIRST_CALLS[generation][0], response.status, response.body)
    seen = " and ".join(
        f"{connection.address.url}{BASE_PATHS[generation]}/api with status {response.status}"
        f"{'' if is_json(response.body) else ', not JSON'}"
        for generation, response in answers.items()
    )
    if pinned:
        found = f"generation {connection.address.generation} of the protocol is pinned, and no MetaLake answers"
        return LakeAnswerInvalid(f"{found} ({seen})", where=connection.address.url, remedy=PIN_REMEDY)
    return LakeAnswerInvalid(
        f"no MetaLake answers at this address ({seen})",
        where=connection.address.url,
        remedy="Check that 'remote.url' is the address of the lake, and that no proxy answers in its place.",
    )
