"""The models of what the manifest connects to: the lake, and a webhook.

Owns: these keys and their defaults. Must not: read a credential or open a connection.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from metalake_sync.manifest.metadata_values import wrong
from metalake_sync.manifest.types import Command, Model, PathText, Text, number_in_text

EMBEDDED = "embedded:"


def _web_address(url: str) -> SplitResult | None:
    """Return the parts of an http(s) URL, or None if it is not one. Errors must not repeat the URL, because it may come
    from a variable and hold a password or a token."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return None
    return parts if whole and not any(char.isspace() for char in url) else None


class Remote(Model):
    """The lake and the credentials for it. The key and the secret each come from exactly one place."""

    url: Text = Field(description="Address of the lake: https://HOST, or embedded:DIR for the embedded lake.")
    api_key: SecretStr | None = Field(None, description="API key. Use ${LAYERNEXT_API_KEY} instead of the key itself.")
    api_key_file: PathText | None = Field(None, description="File that holds only the API key.")
    api_key_command: Command | None = Field(
        None, description="Command that prints the API key, as a list of arguments. It runs without a shell."
    )
    secret: SecretStr | None = Field(None, description="Secret. Use ${LAYERNEXT_SECRET} instead of the secret itself.")
    secret_file: PathText | None = Field(None, description="File that holds only the secret.")
    secret_command: Command | None = Field(
        None, description="Command that prints the secret, as a list of arguments. It runs without a shell."
    )
    ca_file: PathText | None = Field(
        None, description="PEM file of additional certificate authorities to trust, for the lake and its object stores."
    )
    allow_insecure: bool = Field(
        False,
        description="Allow http:// to another machine. Anyone on the network path can then read the key and the files.",
    )
    allow_local_store: bool = Field(
        False,
        description="Allow a lake on another machine to name object stores on this machine or its local link "
        "(loopback and"
        " link-local addresses).",
    )
    generation: Annotated[Literal["auto", 2, 3], BeforeValidator(number_in_text)] = Field(
        "auto",
        description="Generation of the lake's protocol. auto: detect it. 2: lakes up to August 2024. 3: later lakes.",
    )

    @field_validator("url")
    @classmethod
    def _a_lake(cls, url: str) -> str:
        if url.startswith(EMBEDDED):
            if not url.removeprefix(EMBEDDED).strip():
                raise wrong("does not name a folder", "Write embedded:.metalake.")
            return url
        parts = _web_address(url)
        if parts is None:
            raise wrong("is not the address of a lake", "Write https://HOST, or embedded:DIR.")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise wrong("contains more than an address", "Use 'api_key' and 'secret' for credentials.")
        return url

    @property
    def embedded(self) -> bool:
        return self.url.startswith(EMBEDDED)


class Notify(Model):
    """A webhook that receives a message when watching fails and when it has recovered."""

    url: Text = Field(description="Address that receives a POST request with a JSON body.")
    on: list[Literal["failed", "recovered"]] = Field(
        default=["failed", "recovered"], description="Changes of status that send a message."
    )
    secret: SecretStr | None = Field(
        None,
        description="Secret that signs each message (HMAC-SHA256). Use ${NOTIFY_SECRET} instead of the secret itself.",
    )
    secret_file: PathText | None = Field(None, description="File that holds only the signing secret.")

    @field_validator("url")
    @classmethod
    def _a_receiver(cls, url: str) -> str:
        if _web_address(url) is None:
            raise wrong("is not a web address", "Write https://HOST/PATH.")
        return url
