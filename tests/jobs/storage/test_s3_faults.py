"""Every fault of an S3 server in every way to read: whole and right, or whose trouble it is."""

import random
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.errors import FetchError, StorageError
from jobs.storage.clients import s3_clients
from tests.support.faulty_proxy import faulty_proxy, flipped

PASSING = ["503", "500", "429", "reset", "lost", "slow", "short", "cut", "empty"]
BODY = random.Random(7).randbytes(2468)
REMEDIES = {
    "503": r"still throttles \(503 SlowDown\) after every retry; try later",
    "429": r"still throttles \(429 TooManyRequests\)",
    "500": r"still answers 500 InternalError after every retry; check the server",
    "reset": "check the network",
    "expired": "the credentials have expired; renew them",
    "expired 403": "the credentials have expired; renew them",
    "skewed": "clock wrong; set it",
    "signature": "rejects the signature; check AWS_SECRET_ACCESS_KEY",
}


def read_whole(storage, uri):
    return storage.read(uri, expected_size=len(BODY)).data


def read_range(storage, uri):
    return storage.read(uri, offset=0, expected_size=len(BODY)).data


def read_file(storage, uri):
    with storage.open(uri, buffer_bytes=1000) as file:
        return file.read()


# obstore reads the first three, boto3 the others
WAYS = [
    *[("plain", read_whole), ("plain", read_range), ("plain", read_file)],
    *[("tab\tkey", read_whole), ("tab\tkey", read_range)],
]
KEYS = pytest.mark.parametrize("key", ["plain", "tab\tkey"])


@pytest.fixture
def stored(s3_bucket, storage):
    """A bucket with one object for each way of reading, and another one."""
    for key in ("plain", "tab\tkey", "other"):
        storage.write(f"s3://{s3_bucket}/{key}", BODY)
    return f"s3://{s3_bucket}"


def only_gets(fault, *, of="", first=10**9):
    """Spoil the first GETs of some key."""
    left = iter(range(first))
    return lambda method, path: (
        fault if method == "GET" and of in path and next(left, None) is not None else None
    )


# passing faults


def test_nothing_is_lost_when_a_third_of_all_answers_is_503(s3_bucket, storage, behind_proxy):
    # each request has its own dice, so that threads do not change what is thrown
    dice, lock, hit = defaultdict(list), threading.Lock(), set()

    def fault(method: str, path: str) -> str | None:
        with lock:
            throws = dice[method, path]
            throws.append(0)
            name = f"{method} {path.rpartition('/')[2]} {len(throws)}"
            bad = random.Random(name).random() < 0.3
            hit.update({method} if bad else ())
            return "503" if bad else None

    behind_proxy(fault)
    uris = [f"s3://{s3_bucket}/photos/{number:03}" for number in range(16)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda uri: storage.write(uri, uri.encode()), uris))
        listings = list(
            pool.map(lambda _: list(storage.list(f"s3://{s3_bucket}/photos/")), range(5))
        )
        heads = list(pool.map(storage.head, uris))
        bodies = list(pool.map(lambda uri: storage.read(uri).data, uris))
    assert bodies == [uri.encode() for uri in uris]
    assert [listing == heads for listing in listings] == [True] * 5
    assert [stored.uri for stored in heads] == uris
    assert hit == {"PUT", "GET", "HEAD"}


@pytest.mark.parametrize("fault", PASSING)
def test_passing_fault_is_read_over(stored, storage, behind_proxy, fault):
    pending = []
    behind_proxy(lambda method, _: pending.pop() if pending and method == "GET" else None)
    for key, read in WAYS:
        pending.append(fault)
        assert read(storage, f"{stored}/{key}") == BODY
        assert not pending


@KEYS
def test_flipped_bit_is_read_again(stored, storage, behind_proxy, key):
    behind_proxy(only_gets("flip", first=2))
    assert storage.read(f"{stored}/{key}").data == BODY


@KEYS
@pytest.mark.usefixtures("impatient")
def test_overwritten_object_is_compared_with_its_own_etag(stored, storage, behind_proxy, key):
    listed = {"expected_size": 3, "expected_etag": "0" * 32}
    assert storage.read(f"{stored}/{key}", **listed).data == BODY
    behind_proxy(only_gets("flip"))
    with pytest.raises(FetchError, match="do not match its checksum"):
        storage.read(f"{stored}/{key}", **listed)


# lasting faults of one object


@pytest.mark.parametrize("fault", ["500", "reset", "cut", "short", "empty", "signature"])
@pytest.mark.usefixtures("impatient")
def test_object_that_alone_ails_is_an_error_of_its_own(stored, storage, behind_proxy, fault):
    ailing = ["plain"]
    behind_proxy(lambda method, path: fault if method == "GET" and ailing[0][:3] in path else None)
    for number, (ailing[0], read) in enumerate(WAYS):
        s3_clients().last_read.clear()
        if number % 2:  # else another object has to be looked for
            assert storage.read(f"{stored}/other").data == BODY
        key = ailing[0]
        with pytest.raises(FetchError) as caught:
            read(storage, f"{stored}/{key}")
        assert caught.value.kind == "storage"


@KEYS
@pytest.mark.usefixtures("impatient")
def test_body_that_stays_wrong_never_passes(stored, storage, behind_proxy, key):
    etag = storage.head(f"{stored}/{key}").etag
    for fault, message in (
        ("short", "2,468 bytes expected, 1,234 received"),
        ("flip", "do not match its checksum"),
    ):
        behind_proxy(only_gets(fault))
        with pytest.raises(FetchError, match=message) as caught:
            storage.read(f"{stored}/{key}", expected_size=len(BODY), expected_etag=etag)
        assert caught.value.kind == "storage"


def test_denied_object_is_an_error_of_its_own(stored, storage, behind_proxy):
    behind_proxy(lambda *_: "403")
    for key, read in WAYS:
        with pytest.raises(FetchError, match="the credentials need s3:GetObject") as caught:
            read(storage, f"{stored}/{key}")
        assert caught.value.kind == "access_denied"


def test_archived_object_is_an_error_of_its_own_with_the_remedy(stored, storage, behind_proxy):
    behind_proxy(only_gets("archived"))
    for key, read in WAYS:
        with pytest.raises(FetchError, match=r"restore-object\), then use --retry-err") as caught:
            read(storage, f"{stored}/{key}")
        assert caught.value.kind == "archived"


# lasting faults of the service


@pytest.mark.parametrize("fault", list(REMEDIES))
@pytest.mark.usefixtures("impatient")
def test_service_that_ails_is_no_objects_fault(stored, storage, behind_proxy, fault):
    ailing = []
    behind_proxy(lambda *_: fault if ailing else None)
    for number, (key, read) in enumerate(WAYS):
        s3_clients().last_read.clear()
        ailing.clear()
        if number % 2:
            storage.read(f"{stored}/other")
        ailing.append(True)
        with pytest.raises(StorageError, match=REMEDIES[fault]):
            read(storage, f"{stored}/{key}")


@KEYS
@pytest.mark.parametrize("fault", ["503", "429"])
@pytest.mark.usefixtures("impatient")
def test_throttling_is_never_one_objects_fault(stored, storage, behind_proxy, fault, key):
    behind_proxy(only_gets(fault, of=key[:3]))
    assert storage.read(f"{stored}/other").data == BODY
    with pytest.raises(StorageError, match="still throttles"):
        storage.read(f"{stored}/{key}")


@pytest.mark.usefixtures("impatient")
def test_server_that_goes_away_ends_the_reading(stored, storage, s3_environment, monkeypatch):
    with faulty_proxy(s3_environment.endpoint_url, lambda *_: None) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        for key, read in WAYS:
            assert read(storage, f"{stored}/{key}") == BODY
    for key, read in WAYS:
        with pytest.raises(StorageError, match=r"check (AWS_ENDPOINT_URL and )?the network"):
            read(storage, f"{stored}/{key}")


# what an etag says


def test_etags_of_encrypted_objects_are_not_compared(stored, storage, behind_proxy):
    asked, fault = [], only_gets("kms")
    behind_proxy(lambda method, path: asked.append(path) or fault(method, path))
    encrypted = storage.read(f"{stored}/plain").data
    assert encrypted == flipped(BODY)
    asked.clear()
    assert storage.read(f"{stored}/other").data == encrypted
    assert len(asked) == 1  # by boto3 at once: the bucket is known


@KEYS
@pytest.mark.usefixtures("impatient")
def test_checksum_of_the_server_is_compared(stored, storage, behind_proxy, s3_client, key):
    bucket = stored.removeprefix("s3://")
    s3_client.put_object(Bucket=bucket, Key=key, Body=BODY, ChecksumAlgorithm="CRC32")
    behind_proxy(only_gets("kms"))  # the etag says nothing, the checksum does
    with pytest.raises(FetchError, match="do not match its checksum"):
        storage.read(f"{stored}/{key}")


def test_objects_made_of_parts_are_read_with_their_checksum(stored, storage, monkeypatch):
    def never(*_):
        raise AssertionError("obstore was asked")

    monkeypatch.setattr("jobs.storage.s3_reads._read_with_obstore", never)
    assert storage.read(f"{stored}/plain", expected_etag="0" * 32 + "-2").data == BODY
