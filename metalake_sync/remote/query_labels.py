"""The labels that a query names, and those of them that the lake does not have.

A query for a misspelled label selects nothing, and the lake does not call that an error. Must not: ask the lake about a
query that selects something, because a lake need not list every label that its items have.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from metalake_sync.errors import LakeAnswerInvalid, LakeRejected
from metalake_sync.remote.client import LakeClient

# A value may contain "and", so it separates terms only in front of another term.
_BEFORE_TERM = r"(?=(?:annotation\.label\s*|metadata\.[^=&|]+)=)"
_BETWEEN = re.compile(rf"(?<!\s)\s*(?:\sand\s|\sor\s|&&?|\|\|?)\s*{_BEFORE_TERM}", re.IGNORECASE)
_LABEL = re.compile(r"annotation\.label\s*=\s*(.+)", re.DOTALL | re.IGNORECASE)


def labels_of_query(query: str) -> Iterator[str]:
    """Yield the labels that a query names: `annotation.label=Bird and metadata.Tags=skip` names Bird."""
    for term in _BETWEEN.split(query):
        found = _LABEL.fullmatch(term.strip())
        if found is not None:
            yield found[1].strip().strip("'\"")


def listed_labels(client: LakeClient) -> list[str] | None:
    """Return the labels of the lake, or None if it does not list them."""
    try:
        return [listed.label_text for listed in client.list_labels()]
    except (LakeRejected, LakeAnswerInvalid):
        return None


def unknown_labels(queries: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """Yield a clause for each label of the queries that is not known, with the most similar one that is."""
    import difflib

    folded = {label.casefold(): label for label in known}
    for label in dict.fromkeys(label for query in queries for label in labels_of_query(query)):
        if label.casefold() not in folded:
            near = difflib.get_close_matches(label.casefold(), folded, n=1)
            remedy = f"did you mean '{folded[near[0]]}'?" if near else "correct the query"
            yield f"the lake does not have the label '{label}', so the query selects nothing; {remedy}"
