"""Quirks: ways in which a real MetaLake may differ from the embedded lake, as far as the evidence allows.

Owns: the names of the quirks, what each one changes, and the evidence for it. `embedded_lake.web.quirks_middleware`
changes answers;
the modules that keep names, ids, metadata and annotations look at the rest themselves.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from metalake_sync.errors import UsageError


class Quirk(enum.Enum):
    """One quirk. Its value is the name that `--quirks` takes."""

    effect: str
    """What the lake does otherwise. Completes the sentence 'the lake …'."""
    evidence: str
    """Why a real MetaLake may be so."""

    def __new__(cls, name: str, effect: str, evidence: str) -> Quirk:
        quirk = object.__new__(cls)
        quirk._value_ = name
        quirk.effect = effect
        quirk.evidence = evidence
        return quirk

    # Names and ids.

    TRASHED_NAMES_TAKEN = (
        "trashed_names_taken",
        "keeps the names of trashed files and collections: a new file of such a name counts as existing, and a"
        " collection of such a name is refused with 409",
        "the unique indexes of the vendor's database do not look at the trash",
    )
    TRASHED_NAMES_REFUSED = (
        "trashed_names_refused",
        "keeps the names of trashed files and collections, and refuses both with 409",
        "the same indexes: an insert that violates one fails",
    )
    OPAQUE_IDS = (
        "opaque_ids",
        "gives ids that are no MongoDB ids, in which letter case counts",
        "the vendor's clients treat ids as texts; labels have UUIDs, and file ids of an upload are neither",
    )
    UNIQUE_NAMES_ARE_PATHS = (
        "unique_names_are_paths",
        "uses a file's storage path, with slashes, as its unique name",
        "older lakes did so; files that were found in a bucket have names of other forms still",
    )
    VIDEO_TWINS = (
        "video_twins",
        "creates every collection of videos together with an empty one of the same name",
        "the vendor's index of collection names leaves videos out",
    )
    ARBITRARY_TIES = (
        "arbitrary_ties",
        "lists items with equal sort values in an order that says nothing about their age",
        "the vendor's indexes are over (field, id); no client sorts twice",
    )
    NAMES_IGNORE_CASE = (
        "names_ignore_case",
        "ignores letter case when it sorts by name",
        "the vendor's index of names holds them in lower case",
    )

    # Metadata.

    VALIDATE_RENAMES = (
        "validate_renames",
        "has a spelling of its own (lower case, underscores) for tags and fields, and answers the validate calls with"
        " renames in both generations",
        "layernext-beta renames what these calls tell it to; servers between the generations exist",
    )
    RENAMES_BY_ITSELF = (
        "renames_by_itself",
        "has a spelling of its own for tags and fields, and stores metadata under it whatever the client sends",
        "two fields of one normal form are one field to the vendor's database",
    )
    DETAILS_MINIMAL = (
        "details_minimal",
        "answers detail calls with ids, names and user-defined metadata only: no sizes, dates or storage paths",
        "the vendor's page lists the other fields as available on request, and no client checks for most of them",
    )

    # Labels and annotations.

    LABEL_ROWS_KEY = (
        "label_rows_key",
        "lists labels as {label: text, key: reference}",
        "the vendor's page names name, description and key; no client reads the rows",
    )
    LABEL_ROWS_TEXT = (
        "label_rows_text",
        "lists labels as {label: reference, labelText: text}",
        "answers to the creation of labels have these fields",
    )
    LABEL_ROWS_ID_NAME = (
        "label_rows_id_name",
        "lists labels and label groups as {id, name}",
        "the vendor's page names these for groups; no client reads the rows",
    )
    LABEL_ROWS_EMPTY = (
        "label_rows_empty",
        "answers the lists of labels and label groups with an empty object",
        "the vendor's clients hand on whatever they get",
    )
    EMPTY_SETS_IGNORED = (
        "empty_sets_ignored",
        "ignores annotation sets without shapes: they do not clear what was there",
        "no client sends one on purpose",
    )
    KEEPS_HUMAN_SETS = (
        "keeps_human_sets",
        "removes only machine annotations when an operation is deleted",
        "the vendor's clients call the operation a model run",
    )

    # Forms of answers.

    UNKNOWN_FIELDS = (
        "unknown_fields",
        "adds fields to every object of its answers, and orders keys otherwise",
        "servers grow fields; JSON objects have no order",
    )
    NUMBERS_AS_TEXT = (
        "numbers_as_text",
        "writes the numbers that it computes itself as texts",
        "JavaScript servers mix both; goes further than the vendor's clients would stand",
    )
    NULLS = (
        "nulls",
        "writes null where it has nothing to say",
        "optional fields of a database document are often null",
    )
    EMPTY_ACKNOWLEDGEMENTS = (
        "empty_acknowledgements",
        "answers 200 with {} where an answer only acknowledges, and where 204 is usual",
        "the vendor's clients look at the status of these calls alone",
    )
    NO_CONTENT = (
        "no_content",
        "answers 204 where an answer only acknowledges",
        "the vendor's clients take 200 and 204 alike",
    )
    REFUSED_WHEN_EMPTY = (
        "refused_when_empty",
        "answers 406 with a message for an empty page and for a collection that does not exist",
        "the vendor's clients take 204 and 406 alike",
    )
    BARE_MESSAGES = (
        "bare_messages",
        "writes errors as {message} instead of {error: {message}}",
        "gateways and older servers do so",
    )
    HTML_ERRORS = (
        "html_errors",
        "answers every error with an HTML page",
        "a proxy that stands in front of a lake replaces error bodies",
    )
    DATES_AS_OBJECTS = (
        "dates_as_objects",
        "writes dates as {$date: …}",
        "annotation objects carry such dates, and MongoDB exports them",
    )
    DATES_AS_MILLISECONDS = (
        "dates_as_milliseconds",
        "writes dates as milliseconds since 1970",
        "MongoDB keeps dates so",
    )
    DATES_WITHOUT_ZONE = (
        "dates_without_zone",
        "writes dates as ISO 8601 without a zone",
        "annotation objects carry local times without a zone",
    )
    DATES_UNREADABLE = (
        "dates_unreadable",
        "writes dates as a sentence",
        "no client reads these dates, so their form is not known",
    )
    COUNTS_BARE = (
        "counts_bare",
        "answers counts as a bare number and read URLs as a bare text",
        "the vendor's clients hand on these answers unread",
    )
    COUNTS_AS_TEXT = (
        "counts_as_text",
        "answers counts as a text of digits, and read URLs as {signedUrl}",
        "the vendor's clients hand on these answers unread",
    )
    COUNTS_NESTED = (
        "counts_nested",
        "answers counts as one {count, size} for each kind of file, and read URLs as {data: {url}}",
        "the vendor's database keeps counts in this form",
    )

    # The system.

    NO_COMPATIBILITY = (
        "no_compatibility",
        "does not have the compatibility call (404)",
        "the vendor's live client does not make this call any more",
    )
    INCOMPATIBLE = (
        "incompatible",
        "answers the compatibility call with isCompatible: false and a message",
        "the call exists to say so",
    )
    ONE_BASE = (
        "one_base",
        "has no call under the base path of the other generation; has an effect with --generation only",
        "nginx passes on /api alone since 2024-08-15, while the vendor's client asks for annotations under /datalake",
    )
    LOCAL_DISK = (
        "local_disk",
        "names its storage 'lds', which no client can send to",
        "the vendor's deployment knows storage on a local disk",
    )


def parse_quirks(names: Iterable[str]) -> frozenset[Quirk]:
    """Return the quirks of these names. Raises UsageError for an unknown one; its remedy lists those that are known."""
    known = {quirk.value: quirk for quirk in Quirk}
    wanted = [name.strip() for name in names if name.strip()]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UsageError(
            f"unknown quirk '{unknown[0]}'",
            where="--quirks",
            remedy=f"Choose from: {', '.join(sorted(known))}.",
        )
    return frozenset(known[name] for name in wanted)
