"""Asking before something is taken away: on a terminal a person, elsewhere a flag has to have said so."""

from __future__ import annotations

import sys

import click

from metalake_sync.errors import GuardStopped


def can_ask(*, as_json: bool) -> bool:
    """Whether somebody is there to answer."""
    return not as_json and sys.stdin.isatty() and sys.stdout.isatty()


def ask(question: str, *, approved: bool, as_json: bool) -> None:
    """Return if it was approved. Raises GuardStopped if not, or if nobody can be asked."""
    if approved:
        return
    if not can_ask(as_json=as_json):
        nobody = "with --json nobody is asked" if as_json else "there is no terminal to ask on"
        raise GuardStopped(
            f"it was not approved, and {nobody}", remedy="Nothing was done. Give --auto-approve if it is right."
        )
    if click.confirm(question, default=False):
        return
    raise GuardStopped("it was not approved", remedy="Nothing was done. Give --auto-approve if it is right.")
