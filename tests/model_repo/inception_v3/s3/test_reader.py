"""Listing and reading S3, on a real server, through a proxy that spoils some answers."""

import random
from contextlib import ExitStack

import pytest

from model_repo.inception_v3.s3.objects import S3Error
from model_repo.inception_v3.s3.reader import S3Reader
from tests.support.faulty_proxy import faulty_proxy
from tests.support.work import connections_tried

DATA = random.Random(7).randbytes(5_000_000)
BODY_FAULTS = ("cut", "short")


@pytest.fixture
def put(s3_bucket, s3_client):
    def put(key: str, body: bytes = b"x") -> str:
        s3_client.put_object(Bucket=s3_bucket, Key=key, Body=body)
        return f"s3://{s3_bucket}/{key}"

    return put


@pytest.fixture
def behind_proxy(s3_environment, monkeypatch):
    """Put a faulty proxy before the server: call it with the faults of the coming GETs."""
    monkeypatch.setattr("model_repo.inception_v3.s3.connection.PATIENCE_S", 1)
    monkeypatch.setattr("model_repo.inception_v3.s3.reader._ATTEMPTS", 3)
    monkeypatch.setattr("model_repo.inception_v3.s3.reader._PAUSE_S", 0)
    with ExitStack() as stack:

        def start(*faults: str | None, method: str = "GET") -> None:
            left = list(faults)

            def fault(command: str, _path: str) -> str | None:
                return left.pop(0) if command == method and left else None

            url = stack.enter_context(faulty_proxy(s3_environment.endpoint_url, fault))
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)

        yield start


def names(uri: str) -> list[str]:
    return [item.uri.split("/", 3)[3] for item in S3Reader().list(uri)]


def read(uri: str) -> bytes:
    return b"".join(S3Reader().stream(uri))


def test_a_folder_is_listed_without_its_namesakes(put, s3_bucket):
    for key in ("a/b/1", "a/b/c/2", "a/bc", "a/b.txt", "a/b/"):
        put(key, b"" if key.endswith("/") else b"x")

    assert names(f"s3://{s3_bucket}/a/b") == names(f"s3://{s3_bucket}/a/b/") == ["a/b/1", "a/b/c/2"]
    assert names(f"s3://{s3_bucket}/a/bc") == ["a/bc"]
    assert sorted(names(f"s3://{s3_bucket}")) == ["a/b.txt", "a/b/1", "a/b/c/2", "a/bc"]
    assert names(f"s3://{s3_bucket}/none") == []


def test_a_listing_of_many_pages_is_whole(put, s3_bucket, monkeypatch):
    keys = sorted(put(f"m/{number}").split("/", 3)[3] for number in range(7))
    store = S3Reader()
    store._connect().boto3.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: params | {"MaxKeys": 2}
    )

    assert [item.uri.split("/", 3)[3] for item in store.list(f"s3://{s3_bucket}/m")] == keys


def test_odd_keys_come_back_letter_for_letter(put):
    for key in ("m/ünï #1?.pt", "m/a+b%20c.pt", "m/a&b=c.pt"):
        uri = put(key, key.encode())
        assert [item.uri for item in S3Reader().list(uri)] == [uri]
        assert read(uri) == key.encode()


def test_head_and_listing_agree(put, s3_bucket):
    uri = put("m/model.pt", b"12345")

    found = S3Reader().head(uri)

    assert found == next(iter(S3Reader().list(f"s3://{s3_bucket}/m")))
    assert found.size == 5
    assert S3Reader().head(f"s3://{s3_bucket}/m") is None
    assert S3Reader().head(f"s3://{s3_bucket}") is None


def test_objects_are_read_whole(put):
    assert read(put("large", DATA)) == DATA
    assert read(put("empty", b"")) == b""


@pytest.mark.parametrize("fault", [*BODY_FAULTS, "empty", "500", "reset"])
def test_a_body_that_breaks_off_is_taken_up_again(put, behind_proxy, fault):
    uri = put("large", DATA)
    behind_proxy(fault, fault)

    assert read(uri) == DATA


@pytest.mark.parametrize("fault", [*BODY_FAULTS, "empty", "500"])
def test_a_body_that_never_comes_whole_is_an_error(put, behind_proxy, fault):
    uri = put("large", DATA)
    behind_proxy(*[fault] * 50)

    with pytest.raises(S3Error, match=f"cannot read {uri}: .*check the .*server"):
        read(uri)


def test_an_object_that_changes_while_it_is_read_is_refused(put, behind_proxy):
    uri = put("large", DATA)
    pieces = S3Reader().stream(uri)
    put("large", DATA[::-1])
    with pytest.raises(S3Error, match=f"{uri} has changed while it was read"):
        list(pieces)


@pytest.mark.parametrize("fault", ["empty", "cut", "drop"])
def test_a_listing_that_is_not_whole_is_an_error(put, s3_bucket, behind_proxy, fault):
    put("m/1")
    put("m/2")
    behind_proxy(*[fault] * 50)

    with pytest.raises(S3Error, match=f"cannot list s3://{s3_bucket}/m/: .*check the"):
        names(f"s3://{s3_bucket}/m/")


def test_a_missing_object_and_a_missing_bucket_are_named(s3_bucket):
    with pytest.raises(S3Error, match=f"^s3://{s3_bucket}/none does not exist$"):
        S3Reader().stream(f"s3://{s3_bucket}/none")
    with pytest.raises(S3Error, match=r"^bucket 'typo-7' does not exist at http://.*; "):
        names("s3://typo-7/models")


def test_refused_credentials_are_told_from_missing_permission(put, monkeypatch, behind_proxy):
    uri = put("m/1")
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        for ask in (read, names):
            with pytest.raises(S3Error, match="rejects the signature; check AWS_SECRET_ACCESS_KEY"):
                ask(uri)
    behind_proxy(*["403"] * 50, method="HEAD")
    with pytest.raises(S3Error, match=f"cannot read {uri}"):
        read(uri)
    assert names(uri) == []  # as a folder: who may not look may still list


def test_denied_reading_names_the_permission(put, behind_proxy, monkeypatch):
    uri = put("m/1")
    behind_proxy(*["403"] * 50)

    with pytest.raises(S3Error, match="access denied; the credentials need s3:GetObject"):
        read(uri)
    with pytest.raises(S3Error, match="access denied; the credentials need s3:ListBucket"):
        names(f"{uri}/")


def test_no_credentials_at_all_are_named(put, monkeypatch):
    uri = put("m/1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)

    for ask in (read, names):
        with pytest.raises(S3Error, match="no credentials were found; set AWS_ACCESS_KEY"):
            ask(uri)


def test_an_endpoint_that_does_not_answer_is_named_soon(put, monkeypatch):
    uri = put("m/1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    def ask():
        with pytest.raises(S3Error, match=r"endpoint http://127\.0\.0\.1:1 cannot be reached"):
            names(uri)

    assert 0 < connections_tried(ask) <= 10


def test_an_endpoint_without_a_scheme_is_told_so(s3_environment, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")

    with pytest.raises(S3Error, match=r"'localhost:9000' lacks http://.* as http://localhost:9000"):
        names("s3://b/models")


def test_an_archived_object_is_told_so(put, behind_proxy):
    uri = put("m/1")
    behind_proxy(*["archived"] * 50)

    with pytest.raises(S3Error, match="archived in Glacier or Deep Archive; restore it first"):
        read(uri)


def test_a_configuration_that_makes_no_sense_is_named(s3_environment, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    with pytest.raises(S3Error, match=r"the AWS configuration cannot be used: .*nobody"):
        names("s3://b/models")
