"""S3 Inventories, of every format, against what a server lists."""

import pickle
from contextlib import contextmanager
from dataclasses import replace

import pytest

from jobs.errors import FetchError, JobError, SpecError
from jobs.inputs import open_source
from jobs.inputs.fetch import fetch_images
from jobs.inputs.names import Names
from tests.support.faulty_proxy import faulty_proxy
from tests.support.inputs import read_all, write_text
from tests.support.inventories import CURRENT, FOLDER, TYPES, Inventories

KINDS = pytest.mark.parametrize("kind", ["CSV", "ORC", "Parquet"])
KEYS = ["a.jpg", "b c.jpg", "b+c.jpg", "d%2Fe.jpg", "ünï.jpg", 'q"uote,.jpg', "f/g.jpg", "z\r\n"]


@pytest.fixture
def inventories(s3_client, s3_bucket):
    return Inventories(s3_client, s3_bucket)


@pytest.fixture
def photos(s3_bucket, storage):
    """The prefix of some objects, and what an inventory says of them."""
    for key in KEYS:
        storage.write(f"s3://{s3_bucket}/photos/{key}", key.encode())
    prefix = f"s3://{s3_bucket}/photos/"
    return prefix, [entry(stored) for stored in storage.list(prefix)]


def entry(stored, **more):
    bucket, _, key = stored.uri.removeprefix("s3://").partition("/")
    known = {"Bucket": bucket, "Key": key, "Size": stored.size, "ETag": stored.etag}
    return known | {"StorageClass": "STANDARD", "IsLatest": True, "IsDeleteMarker": False} | more


@pytest.fixture
def requests(s3_environment, monkeypatch):
    """Count the requests that come to the server: method and path."""

    @contextmanager
    def counted():
        asked = []
        fault = lambda method, path: asked.append(f"{method} {path}")  # noqa: E731
        with (
            faulty_proxy(s3_environment.endpoint_url, fault) as url,
            monkeypatch.context() as patch,
        ):
            patch.setenv("AWS_ENDPOINT_URL", url)
            yield asked

    return counted


def listings(asked):
    return [request for request in asked if "list-type" in request]


def rows_of(uri, storage):
    return read_all(open_source(uri, storage), storage).sort_by("uri").to_pylist()


def fetched(uri, storage):
    """Uri → the bytes, or the kind of error."""
    table = read_all(open_source(uri, storage), storage)
    results = [x for _, x in fetch_images(storage, table)]
    outcomes = [x.kind if isinstance(x, FetchError) else x.data for x in results]
    return dict(zip(table["uri"].to_pylist(), outcomes, strict=True))


@KINDS
def test_inventory_gives_the_rows_of_a_listing(inventories, photos, storage, kind):
    prefix, entries = photos
    uri = inventories.publish(entries[:3], entries[3:], kind=kind)
    source = open_source(uri, storage)
    assert (source.kind, source.carried.names, str(source)) == ("inventory", [], f"inventory {uri}")
    assert rows_of(uri, storage) == rows_of(prefix, storage)
    assert source.passed_over == {}


@KINDS
def test_versions_and_what_is_no_object_are_counted_instead(inventories, photos, storage, kind):
    prefix, entries = photos
    first, *_ = entries
    more = [
        {**first, "IsLatest": False, "ETag": "0" * 32},
        {**first, "Key": "photos/gone", "IsDeleteMarker": True, "Size": None, "ETag": None},
        {**first, "Key": "photos/gone", "IsLatest": False, "Size": 3},
        {**first, "Key": "photos/folder/", "Size": 0},
    ]
    uri = inventories.publish([*more, *entries], kind=kind, columns=list(TYPES))
    source = open_source(uri, storage)
    assert read_all(source, storage).sort_by("uri").to_pylist() == rows_of(prefix, storage)
    left_out = {"delete marker": 1, "older version": 2, "folder placeholder": 1}
    assert source.passed_over == left_out
    assert source.duplicates == 0


@KINDS
def test_archived_objects_are_errors_that_nobody_asks_for(
    inventories, photos, storage, requests, kind
):
    prefix, entries = photos
    classes = ["STANDARD_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE", *["INTELLIGENT_TIERING"] * 4]
    tiers = [None] * 4 + ["FREQUENT", "ARCHIVE_INSTANT_ACCESS", "ARCHIVE", "DEEP_ARCHIVE"]
    columns = ("StorageClass", "IntelligentTieringAccessTier")
    for one, *what in zip(entries, classes, tiers, strict=True):
        one |= dict(zip(columns, what, strict=True))
    uri = inventories.publish(entries, kind=kind)
    with requests() as asked:
        outcomes = fetched(uri, storage)
    assert [outcome == "archived" for outcome in outcomes.values()] == [
        *[False] * 2, *[True] * 2, *[False] * 2, *[True] * 2
    ]  # fmt: skip
    assert sum("/photos/" in request for request in asked) == 4
    assert [row["etag"] for row in rows_of(uri, storage)] == [
        row["etag"] for row in rows_of(prefix, storage)
    ]


def test_nothing_is_listed(inventories, photos, storage, requests):
    _, entries = photos
    uri = inventories.publish(entries)
    with requests() as asked:
        assert list(fetched(uri, storage).values()) == [x["Key"][7:].encode() for x in entries]
    assert listings(asked) == []
    with requests() as asked:  # but the inventory's own folder, to find it and its newest
        assert len(fetched(inventories.prefix, storage)) == len(entries)
    assert len(listings(asked)) == 2
    first, dated = listings(asked)
    assert "prefix=inventories%2Fsource%2Fall%2F&" in f"{first}&"
    assert "prefix=inventories%2Fsource%2Fall%2F2&" in f"{dated}&"


def test_newest_complete_inventory_of_a_configuration_counts(inventories, photos, storage):
    _, entries = photos
    for days, stamp in enumerate(("2023-12-31T01-00Z", "2024-05-02T01-00Z", "2024-05-01T23-00Z")):
        inventories.publish(entries[: days + 1], stamp=stamp)
    inventories.publish(entries, stamp="2024-05-03T01-00Z", checksum=False)
    inventories.put(f"{FOLDER}/hive/dt=2024-05-03-01-00/symlink.txt", b"s3://b/k")
    for uri in (inventories.prefix, inventories.prefix.rstrip("/")):
        assert (
            open_source(uri, storage).uri == f"{inventories.prefix}2024-05-02T01-00Z/manifest.json"
        )
    dated = open_source(f"{inventories.prefix}2024-05-01T23-00Z", storage)
    assert dated.uri == f"{inventories.prefix}2024-05-01T23-00Z/manifest.json"


def test_configuration_without_a_complete_inventory_is_refused(inventories, storage):
    inventories.publish([], checksum=False)
    with pytest.raises(SpecError, match=r"is complete: none has a manifest\.checksum; wait for it"):
        open_source(inventories.prefix, storage)


def test_names_are_chosen_among_whole_keys(inventories, photos, storage, s3_bucket):
    _, entries = photos
    more = [{**entries[0], "Key": key} for key in ("photos/.DS_Store", "labels/part-0.jpg")]
    source = open_source(inventories.publish([*entries, *more]), storage)
    chosen = replace(source, names=Names(("*.jpg",), ("photos/b*", "labels/**")))
    uris = read_all(chosen, storage)["uri"].to_pylist()
    assert sorted(uris) == [
        f"s3://{s3_bucket}/photos/{key}"
        for key in ("a.jpg", "d%2Fe.jpg", "f/g.jpg", 'q"uote,.jpg', "ünï.jpg")
    ]
    left_out = {".DS_Store": 1, "labels/**": 1, "photos/b*": 2, "no suffix": 1}
    assert chosen.passed_over == left_out


def test_stale_entries_are_not_found_or_read_as_they_are_now(
    inventories, photos, storage, s3_bucket
):
    _, entries = photos
    uri = inventories.publish(entries[:3])
    gone, changed, _ = (f"s3://{s3_bucket}/{x['Key']}" for x in entries[:3])
    storage.delete([gone])
    storage.write(changed, b"other and longer")
    outcomes = fetched(uri, storage)
    assert outcomes[gone] == "not_found"
    assert outcomes[changed] == b"other and longer"


@KINDS
def test_inventory_needs_no_more_than_bucket_and_key(inventories, photos, storage, kind):
    _, entries = photos
    uri = inventories.publish(entries, kind=kind, columns=["Bucket", "Key"])
    assert {(row["size"], row["etag"]) for row in rows_of(uri, storage)} == {(None, None)}
    assert set(fetched(uri, storage).values()) == {key.encode() for key in KEYS}
    uri = inventories.publish(entries, kind=kind, columns=["Bucket", "Key", "Size"])
    assert {row["size"] for row in rows_of(uri, storage)} == {None}  # of which version?


@KINDS
def test_row_without_a_key_is_refused(inventories, photos, storage, kind):
    uri = inventories.publish(photos[1], kind=kind, columns=["Bucket", "Size"])
    with pytest.raises(SpecError, match=r"data/.* has a row without a key"):
        rows_of(uri, storage)


@KINDS
def test_file_that_is_not_what_was_listed_ends_the_job(
    inventories, photos, storage, kind, s3_bucket
):
    uri = inventories.publish(photos[1], kind=kind)
    (data,) = storage.list(f"s3://{s3_bucket}/{FOLDER}/data/")
    storage.write(data.uri, storage.read(data.uri).data + b"\n")
    with pytest.raises(JobError, match=rf"{data.uri} is not what its inventory lists: MD5"):
        rows_of(uri, storage)
    storage.delete([data.uri])
    with pytest.raises(JobError, match=rf"cannot read {data.uri}: .* does not exist"):
        rows_of(uri, storage)


@KINDS
def test_file_that_is_damaged_is_named(inventories, photos, storage, kind):
    wrong = {"CSV": "Parquet", "ORC": "CSV", "Parquet": "ORC"}[kind]
    uri = inventories.publish(photos[1], kind=kind, fileFormat=wrong)
    with pytest.raises(SpecError, match=r"cannot read s3://.*/data/.* as a table"):
        rows_of(uri, storage)


def test_manifest_that_does_not_match_its_checksum_is_refused(inventories, photos, storage):
    uri = inventories.publish(photos[1])
    storage.write(uri, storage.read(uri).data.replace(b"CSV", b"ORC"))
    for place in (uri, inventories.prefix):
        with pytest.raises(JobError, match=r"does not match s3://.*/manifest\.checksum: MD5"):
            open_source(place, storage)


def test_copied_manifest_points_to_the_same_files(inventories, photos, storage, tmp_path):
    prefix, entries = photos
    uri = inventories.publish(entries)
    copy = write_text(tmp_path / "of may.json", storage.read(uri).data.decode())
    assert rows_of(copy, storage) == rows_of(prefix, storage)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fileFormat": "AVRO"}, r"manifest\.json: fileFormat: input should be 'CSV', 'ORC' or"),
        ({"files": [{"size": 3}]}, r"manifest\.json: files\.0\.key: field required"),
        ({"destinationBucket": None}, "destinationBucket: input should be a valid string"),
    ],
)
def test_manifest_that_says_what_it_must_not_is_refused(inventories, storage, changes, message):
    uri = inventories.publish([], **changes)
    with pytest.raises(SpecError, match=message):
        open_source(uri, storage)


@pytest.mark.parametrize("text", ["{}", "[1]", "{", "\xff", '{"files": []}', "[" * 100_000])
def test_other_json_is_an_object_like_any(tmp_path, storage, text):
    assert open_source(write_text(tmp_path / "manifest.json", text), storage).kind == "objects"


def test_dated_folder_of_something_else_is_a_folder(s3_bucket, storage):
    for name in ("2024-05-01T01-00Z/photo.jpg", "2024-05-01T01-00Z/x/manifest.json"):
        storage.write(f"s3://{s3_bucket}/trips/{name}", b"{}")
    for uri in ("trips", "trips/2024-05-01T01-00Z", ""):
        assert open_source(f"s3://{s3_bucket}/{uri}", storage).kind == "objects"


@KINDS
def test_inventory_of_an_empty_bucket_is_empty(inventories, storage, kind):
    for files in ([], [[]]):
        uri = inventories.publish(*files, kind=kind)
        with pytest.raises(SpecError, match=r"inventory s3://.*manifest.json is empty"):
            rows_of(uri, storage)


def test_object_that_is_listed_twice_has_one_row(inventories, photos, storage):
    _, entries = photos
    uri = inventories.publish(entries, entries[:2])
    source = open_source(uri, storage)
    assert read_all(source, storage).num_rows == len(entries)
    assert source.duplicates == 2


def test_long_inventories_come_in_several_tables(inventories, photos, storage):
    _, (one, *_) = photos
    entries = [{**one, "Key": f"{number}"} for number in range(2500)]
    source = open_source(inventories.publish(entries, columns=CURRENT), storage)
    assert [table.num_rows for table in source.tables(storage)] == [1000, 1000, 500]


def test_source_can_be_pickled(inventories, photos, storage):
    source = open_source(inventories.publish(photos[1]), storage)
    assert pickle.loads(pickle.dumps(source)) == source
