"""Credentials that are renewed, or cannot be, in the middle of a job."""

import json
import os
import sys
from datetime import UTC, datetime, timedelta

import pytest

from jobs.errors import StorageError
from jobs.storage.clients import s3_clients


@pytest.fixture
def process(s3_environment, tmp_path, monkeypatch):
    """Get credentials from a command; returns the file with a line for each time it ran.

    The file `answer` is what the command prints.
    """
    keys = {"AccessKeyId": s3_environment.access_key, "SecretAccessKey": s3_environment.secret_key}
    expiry = (datetime.now(UTC) + timedelta(minutes=2)).isoformat()
    (tmp_path / "answer").write_text(json.dumps({"Version": 1, "Expiration": expiry, **keys}))
    script = tmp_path / "keys.py"
    script.write_text(
        f"open({str(tmp_path / 'runs')!r}, 'a').write('ran\\n')\n"
        f"print(open({str(tmp_path / 'answer')!r}).read())\n"
    )
    (tmp_path / "config").write_text(
        f"[profile mill]\nregion = us-east-1\nendpoint_url = {s3_environment.endpoint_url}\n"
        f"credential_process = {sys.executable} -S {script}\n"
    )
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "mill")
    return tmp_path / "runs"


def runs(process):
    return len(process.read_text().split())


def test_expired_credentials_are_asked_for_anew(s3_bucket, storage, process, behind_proxy):
    uri = f"s3://{s3_bucket}/a"
    storage.write(uri, b"1")
    storage.write(f"s3://{s3_bucket}/b", b"2")
    expired = []
    behind_proxy(lambda *_: "expired" if expired and expired.pop() else None)
    assert storage.read(uri).data == b"1"
    before, store = runs(process), s3_clients().store(s3_bucket)
    expired.append(True)
    assert storage.read(uri).data == b"1"
    assert runs(process) > before
    assert s3_clients().store(s3_bucket) is not store  # it would keep the old ones for minutes


def test_credentials_near_their_end_are_asked_for_in_time(s3_bucket, storage, process):
    """Of the two minutes that they hold no reader keeps them to the end."""
    uri = f"s3://{s3_bucket}/a"
    storage.write(uri, b"1")
    before = runs(process)
    for _ in range(3):
        storage.read(uri)
    assert runs(process) > before


@pytest.mark.parametrize("answer", [None, "no keys today"])
def test_credentials_that_cannot_be_had_are_no_objects_fault(s3_bucket, storage, process, answer):
    uri = f"s3://{s3_bucket}/a"
    storage.write(uri, b"1")
    odd = "0" * 32 + "-2"  # boto3 reads what was made of parts
    (process.parent / "answer").unlink()
    if answer:
        (process.parent / "answer").write_text(answer)
    message = "Expecting value" if answer else r"no credentials any more \(.*custom-process"
    for ask in (
        storage.read,
        lambda uri: storage.read(uri, expected_etag=odd),
        storage.head,
        lambda uri: storage.write(uri, b"2"),
    ):
        with pytest.raises(StorageError, match=message):
            ask(uri)


@pytest.mark.usefixtures("impatient")
def test_session_token_that_has_expired_ends_the_job(s3_bucket, storage, behind_proxy, monkeypatch):
    storage.write(f"s3://{s3_bucket}/a", b"1")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "old")
    behind_proxy(lambda *_: "expired 403")
    with pytest.raises(StorageError, match="credentials have expired; renew them"):
        storage.read(f"s3://{s3_bucket}/a")
