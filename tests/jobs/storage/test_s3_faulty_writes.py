"""Every fault of an S3 server in what is written, deleted, listed and looked at."""

import base64
import hashlib

import pytest

from jobs.errors import StorageError
from jobs.storage.clients import s3_clients

PASSING = ["503", "500", "429", "reset", "lost", "slow"]
OLD, NEW = b"old", b"new" * 10_000


def first_of(fault, wanted, count=1):
    """Spoil the first requests of a method."""
    left = iter(range(count))
    return lambda method, _: fault if method == wanted and next(left, None) is not None else None


@pytest.fixture(params=["write", "upload"])
def write(request, storage, tmp_path):
    """Write NEW to a uri in either way."""
    (tmp_path / "new").write_bytes(NEW)
    if request.param == "write":
        return lambda uri: storage.write(uri, NEW)
    return lambda uri: storage.upload(uri, tmp_path / "new")


@pytest.mark.parametrize("fault", [*PASSING, "flip sent"])
def test_passing_fault_is_written_over(s3_bucket, storage, behind_proxy, write, fault):
    behind_proxy(first_of(fault, "PUT"))
    write(f"s3://{s3_bucket}/a")
    (stored,) = storage.list(f"s3://{s3_bucket}/")
    assert (stored.size, stored.etag) == (len(NEW), hashlib.md5(NEW).hexdigest())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("500", "still answers 500 InternalError"),
        ("503", "still throttles"),
        ("reset", "check the network"),
        ("expired", "have expired; renew them"),
        ("403", "access denied; the credentials need s3:PutObject"),
        ("flip sent", "BadDigest|XAmzContentSHA256Mismatch"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_failed_write_keeps_the_old_object(s3_bucket, storage, behind_proxy, fault, message):
    uri = f"s3://{s3_bucket}/a"
    storage.write(uri, OLD)
    behind_proxy(first_of(fault, "PUT", count=10**9))
    with pytest.raises(StorageError, match=message):
        storage.write(uri, NEW)
    assert storage.read(uri).data == OLD


def test_every_put_says_its_md5(s3_bucket, write):
    """By which the server refuses a changed body also over TLS, where it is not signed."""
    said = []
    events = s3_clients().boto3.meta.events
    note = lambda params, **_: said.append(params["headers"].get("Content-MD5"))  # noqa: E731
    events.register("before-call.s3.PutObject", note)
    write(f"s3://{s3_bucket}/a")
    events.unregister("before-call.s3.PutObject", note)
    assert said == [base64.b64encode(hashlib.md5(NEW).digest()).decode()]


def test_server_refuses_a_body_that_is_not_its_md5(s3_bucket, s3_client):
    md5_of_nothing = "1B2M2Y8AsgTpgAmY7PhCfg=="
    with pytest.raises(s3_client.exceptions.ClientError, match="BadDigest"):
        s3_client.put_object(Bucket=s3_bucket, Key="a", Body=b"b", ContentMD5=md5_of_nothing)


@pytest.mark.parametrize("fault", PASSING)
def test_passing_fault_is_deleted_over(s3_bucket, storage, behind_proxy, fault):
    uris = [f"s3://{s3_bucket}/{name}" for name in ("a", "b", "tab\t")]
    for uri in uris:
        storage.write(uri, OLD)
    behind_proxy(first_of(fault, "POST"))
    storage.delete(uris)
    assert list(storage.list(f"s3://{s3_bucket}/")) == []


@pytest.mark.parametrize("fault", [*PASSING, "short", "cut", "empty", "drop"])
def test_passing_fault_is_listed_over(s3_bucket, storage, behind_proxy, fault):
    for number in range(3):
        storage.write(f"s3://{s3_bucket}/photos/{number}", OLD)
    whole = list(storage.list(f"s3://{s3_bucket}/photos/"))
    behind_proxy(first_of(fault, "GET"))
    assert list(storage.list(f"s3://{s3_bucket}/photos/")) == whole
    assert len(whole) == 3


@pytest.mark.parametrize("fault", ["500", "reset", "expired", "short", "cut", "empty", "drop"])
@pytest.mark.usefixtures("impatient")
def test_listing_that_stays_broken_is_an_error(s3_bucket, storage, behind_proxy, fault):
    storage.write(f"s3://{s3_bucket}/a", OLD)
    storage.write(f"s3://{s3_bucket}/b", OLD)
    behind_proxy(lambda *_: fault)
    with pytest.raises(StorageError, match=rf"cannot list s3://{s3_bucket}/"):
        list(storage.list(f"s3://{s3_bucket}/"))


@pytest.mark.parametrize("fault", PASSING)
def test_passing_fault_is_looked_over(s3_bucket, storage, behind_proxy, fault):
    storage.write(f"s3://{s3_bucket}/a", OLD)
    behind_proxy(first_of(fault, "HEAD"))
    assert storage.head(f"s3://{s3_bucket}/a").size == len(OLD)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("500", "still answers 500"),
        ("expired", "have expired; renew them"),
        ("expired 403", "have expired; renew them"),
        ("403", "access denied; the credentials need s3:GetObject"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_refused_look_says_why(s3_bucket, storage, behind_proxy, fault, message):
    behind_proxy(lambda *_: fault)
    with pytest.raises(StorageError, match=message):
        storage.head(f"s3://{s3_bucket}/a")
