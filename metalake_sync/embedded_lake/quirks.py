"""Quirks: ways in which a real MetaLake may differ from the embedded lake, as far as the evidence allows.

Owns: the names of the quirks, what each one changes, and the evidence for it. `embedded_lake.web.quirk_changes` changes
the form of answers. The modules for names, ids, metadata and annotations implement the other quirks.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from metalake_sync.errors import UsageError


class Quirk(enum.Enum):
    """One quirk. Its value is its name for `--quirks`."""

    effect: str
    """What the lake does differently. Completes the sentence 'the lake …'."""
    evidence: str
    """Why a real MetaLake may behave in this way."""

    def __new__(cls, name: str, effect: str, evidence: str) -> Quirk:
        quirk = object.__new__(cls)
        quirk._value_ = name
        quirk.effect = effect
        quirk.evidence = evidence
        return quirk

    # Names and ids.

    TRASHED_NAMES_TAKEN = (
        "trashed_names_taken",
        "keeps the names of trashed files and collections: a new file with such a name counts as existing, and a"
        " collection with such a name is rejected with 409",
        "the unique indexes of the vendor's database include the trash",
    )
    TRASHED_NAMES_REFUSED = (
        "trashed_names_refused",
        "keeps the names of trashed files and collections, and rejects both with 409",
        "the same indexes: an insert that violates one fails",
    )
    OPAQUE_IDS = (
        "opaque_ids",
        "gives ids that are not MongoDB ids, and that are case-sensitive",
        "the vendor's clients treat ids as texts; labels have UUIDs, and file ids of an upload have a third form",
    )
    UNIQUE_NAMES_ARE_PATHS = (
        "unique_names_are_paths",
        "uses a file's storage path, with slashes, as its unique name",
        "older lakes did so; files that were found in a bucket have names of yet other forms",
    )
    VIDEO_TWINS = (
        "video_twins",
        "creates every collection of videos together with an empty one of the same name",
        "the vendor's index of collection names leaves videos out",
    )
    ARBITRARY_TIES = (
        "arbitrary_ties",
        "lists items with equal sort values in an order that is unrelated to their age",
        "the vendor's indexes are over (field, id); no client sorts by two fields",
    )
    NAMES_IGNORE_CASE = (
        "names_ignore_case",
        "ignores letter case when it sorts by name",
        "the vendor's index of names holds them in lower case",
    )

    # Metadata.

    VALIDATE_RENAMES = (
        "validate_renames",
        "has its own spelling (lower case, underscores) for tags and fields, and answers the validate calls with"
        " renames in both generations",
        "layernext-beta renames what these calls answer; servers between the generations exist",
    )
    RENAMES_BY_ITSELF = (
        "renames_by_itself",
        "has its own spelling for tags and fields, and stores metadata under it, whatever spelling the client sends",
        "the vendor's database treats fields with the same normal form as one",
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
        "the vendor's clients return the answer unchanged",
    )
    EMPTY_SETS_IGNORED = (
        "empty_sets_ignored",
        "ignores annotation sets without shapes: they do not clear the previous set",
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
        "adds fields to every object of its answers, and orders keys differently",
        "newer servers add fields; JSON objects have no order",
    )
    NUMBERS_AS_TEXT = (
        "numbers_as_text",
        "writes the numbers that it computes itself as texts",
        "JavaScript servers mix both; goes further than the vendor's clients tolerate",
    )
    NULLS = (
        "nulls",
        "writes null for empty optional fields",
        "optional fields of a database document are often null",
    )
    EMPTY_ACKNOWLEDGEMENTS = (
        "empty_acknowledgements",
        "answers 200 with {} to calls with a mere acknowledgement, and instead of 204",
        "the vendor's clients only check the status of these calls",
    )
    NO_CONTENT = (
        "no_content",
        "answers 204 to calls with a mere acknowledgement",
        "the vendor's clients treat 200 and 204 alike",
    )
    REFUSED_WHEN_EMPTY = (
        "refused_when_empty",
        "answers 406 with a message for an empty page and for a collection that does not exist",
        "the vendor's clients treat 204 and 406 alike",
    )
    BARE_MESSAGES = (
        "bare_messages",
        "writes errors as {message} instead of {error: {message}}",
        "gateways and older servers do so",
    )
    HTML_ERRORS = (
        "html_errors",
        "answers every error with an HTML page",
        "a proxy in front of a lake replaces error bodies",
    )
    DATES_AS_OBJECTS = (
        "dates_as_objects",
        "writes dates as {$date: …}",
        "annotation objects have such dates, and MongoDB exports them",
    )
    DATES_AS_MILLISECONDS = (
        "dates_as_milliseconds",
        "writes dates as milliseconds since 1970",
        "MongoDB stores dates in this form",
    )
    DATES_WITHOUT_ZONE = (
        "dates_without_zone",
        "writes dates as ISO 8601 without a zone",
        "annotation objects have local times without a zone",
    )
    DATES_UNREADABLE = (
        "dates_unreadable",
        "writes dates as a sentence",
        "no client reads these dates, so their form is not known",
    )
    COUNTS_BARE = (
        "counts_bare",
        "answers counts as a bare number and read URLs as a bare text",
        "the vendor's clients return these answers unread",
    )
    COUNTS_AS_TEXT = (
        "counts_as_text",
        "answers counts as a text of digits, and read URLs as {signedUrl}",
        "the vendor's clients return these answers unread",
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
        "the vendor's present client no longer makes this call",
    )
    INCOMPATIBLE = (
        "incompatible",
        "answers the compatibility call with isCompatible: false and a message",
        "this is the purpose of the call",
    )
    ONE_BASE = (
        "one_base",
        "serves no call under the base path of the other generation; has an effect only with --generation",
        "nginx routes only /api since 2024-08-15, while the vendor's client requests annotations under /datalake",
    )
    LOCAL_DISK = (
        "local_disk",
        "names its storage 'lds', which no client supports",
        "the vendor's deployment supports storage on a local disk",
    )


def parse_quirks(names: Iterable[str]) -> frozenset[Quirk]:
    """Return the quirks with these names. Raises UsageError for an unknown name."""
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
