"""Which addresses are accepted, and what is refused before any call."""

from __future__ import annotations

import subprocess
import sys

import pytest

from metalake_sync.errors import ExitCode, UsageError
from metalake_sync.key_stores.addresses import is_key_store_url, shown_address
from metalake_sync.key_stores.opening import open_key_store

ACCOUNT = {"AZURE_STORAGE_ACCOUNT": "tests", "AZURE_STORAGE_KEY": "dGVzdHM="}
PASSWORD = "correct-horse"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/birds", True),
        ("postgresql://host/database", True),
        ("ftp://host/birds", True),
        ("state.db", False),
        ("/srv/s3:/state.db", False),
        ("C:state.db", False),
        ("", False),
    ],
)
def test_a_url_is_told_from_the_path_of_a_file(text: str, expected: bool) -> None:
    assert is_key_store_url(text) is expected


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("s3://acme-state/birds", "s3://acme-state/birds"),
        ("S3://acme-state/birds/", "s3://acme-state/birds"),
        ("s3://acme-state", "s3://acme-state"),
        ("azure://states/a team/birds", "azure://states/a team/birds"),
        ("postgresql://db.acme.com/states", "postgresql://db.acme.com/states"),
        ("postgresql://ci@db.acme.com:5433/states/birds/1", "postgresql://ci@db.acme.com:5433/states/birds/1"),
        ("postgresql://db.acme.com/states/birds?sslmode=require", "postgresql://db.acme.com/states/birds"),
        ("postgresql:///states/birds", "postgresql:///states/birds"),
    ],
)
def test_the_location_is_the_address_as_users_write_it(url: str, location: str) -> None:
    store = open_key_store(url, ACCOUNT)
    assert store.location == location
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ci:{PASSWORD}@host/states",
        f"postgresql://host/states?password={PASSWORD}",
        f"postgresql://host/states?sslmode=require&PASSWORD={PASSWORD}",
        f"postgresql://host/states/birds?sslpassword={PASSWORD}",
        f"postgresql://host/states?nonsense={PASSWORD}",
        f"postgresql://host/states#{PASSWORD}",
        f"postgresql://ci:{PASSWORD}@[host/states",
        f"s3://AKIA:{PASSWORD}@bucket/birds",
        f"s3://AKIA:ab/{PASSWORD}@bucket/birds",
        f"postgresql://ci:ab/{PASSWORD}@host/states",
        f"mysql://ci:ab/{PASSWORD}@host/states",
        f"s3://bucket/birds?X-Amz-Signature={PASSWORD}",
        f"azure://container/birds?sig={PASSWORD}",
        f"mysql://ci:{PASSWORD}@host/states",
    ],
)
def test_an_address_with_a_password_is_refused_without_printing_it(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        open_key_store(url, ACCOUNT)
    assert refused.value.exit_code is ExitCode.USAGE
    assert PASSWORD not in str(refused.value)
    assert PASSWORD not in repr(refused.value.__cause__)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"postgresql:u:{PASSWORD}@host/states", "postgresql:host/states"),
        (f"s3:/AKIA:{PASSWORD}@bucket", "s3:/bucket"),
        (f"s3://u:{PASSWORD}", "s3://u:***"),
        (f"s3:u:{PASSWORD}/bucket", "s3:u:***"),
        (f"s3://u:1@{PASSWORD}@bucket/birds", "s3://bucket/birds"),
        (f"s3://u:1?{PASSWORD}@bucket/birds", "s3://***"),
        (f"s3://bucket/birds?sig={PASSWORD}", "s3://bucket/birds"),
        (f"  postgresql://u:{PASSWORD}", "  postgresql://u:***"),
        ("postgresql://host:5432/states", "postgresql://host:5432/states"),
        ("postgresql://[::1]:5432/states", "postgresql://[::1]:5432/states"),
        ("folder/a:b.db", "folder/a:b.db"),
    ],
)
def test_an_address_is_shown_without_what_can_be_a_credential(text: str, shown: str) -> None:
    assert shown_address(text) == shown


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("folder:///srv/states", "not the address of a store"),
        ("s3:///birds", "not the address of a bucket"),
        ("s3://bucket/a//b", "a part is empty"),
        ("gs://bucket/../b", "ends in a dot"),
        ("s3://bucket/bi\nrds", "not the address of a store"),
        ("postgresql://host", "does not name a database"),
        ("postgresql://host/states?sslmode", "address of the database is invalid"),
        ("postgresql://host/states/birds/../finches", "ends in a dot"),
    ],
)
def test_an_invalid_address_is_refused(url: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        open_key_store(url, ACCOUNT)


@pytest.mark.parametrize(
    ("url", "module", "library", "extra"),
    [
        ("s3://bucket/birds", "s3", "boto3", "s3"),
        ("azure://bucket/birds", "azure", "azure.storage.blob", "azure"),
        ("gs://bucket/birds", "gcs", "google.auth", "gcs"),
        ("postgresql://host/states", "postgresql", "psycopg", "postgres"),
    ],
)
def test_a_missing_library_is_reported_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, library: str, extra: str
) -> None:
    monkeypatch.delitem(sys.modules, f"metalake_sync.key_stores.{module}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UsageError, match="library that is not installed") as refused:
        open_key_store(url, ACCOUNT)
    assert f"pip install 'metalake-sync[{extra}]'" in str(refused.value)


def test_missing_settings_are_reported() -> None:
    with pytest.raises(UsageError, match="Set AZURE_STORAGE_ACCOUNT"):
        open_key_store("azure://container/birds", {})
    with pytest.raises(UsageError, match="AZURE_STORAGE_CONNECTION_STRING is invalid"):
        open_key_store("azure://container/birds", {"AZURE_STORAGE_CONNECTION_STRING": "nonsense"})
    with pytest.raises(UsageError, match="settings for S3 are invalid"):
        open_key_store("s3://bucket/birds", {"AWS_ENDPOINT_URL": "nonsense"})


def test_missing_credentials_of_google_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/absent/account.json")
    with pytest.raises(UsageError, match="Set GOOGLE_APPLICATION_CREDENTIALS"):
        open_key_store("gs://bucket/birds", {})


def test_recognizing_an_address_loads_no_sdk() -> None:
    code = (
        "import sys; from metalake_sync.key_stores.addresses import is_key_store_url; is_key_store_url('s3://a/b');"
        " print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"boto3", "botocore", "azure", "google", "psycopg", "requests"} & set(done.stdout.split())
