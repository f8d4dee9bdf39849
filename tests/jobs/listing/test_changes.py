"""What an update labels, where a newer S3 Inventory is its input."""

from functools import partial

from tests.support.images import encode, photo
from tests.support.inventories import Inventories
from tests.support.jobs import read_rows


def put_photo(client, bucket, name, seed):
    """Write an object, and return what an inventory says of it."""
    data = encode(photo(320, 240, seed=seed), "JPEG")
    answer = client.put_object(Bucket=bucket, Key=f"photos/{name}", Body=data)
    known = {"Bucket": bucket, "Key": f"photos/{name}", "Size": len(data)}
    return known | {"ETag": answer["ETag"].strip('"')}


def by_uri(output):
    return {row["uri"]: row for row in read_rows(output)}


def test_a_newer_inventory_says_what_has_changed(
    tmp_path, make_job, run_job_here, s3_bucket, s3_client
):
    inventories = Inventories(s3_client, s3_bucket)
    put = partial(put_photo, s3_client, s3_bucket)
    entries = [put(name, seed) for seed, name in enumerate(("same", "changed", "gone", "cold"))]
    entries[3]["StorageClass"] = "DEEP_ARCHIVE"
    inventories.publish(entries)
    out = tmp_path / "out"
    first = run_job_here(make_job(inventories.prefix, out))
    before = by_uri(out)
    newer = [entries[0], put("changed", 4), entries[3], put("new", 5)]
    inventories.publish(newer, stamp="2024-05-02T01-00Z")

    record = run_job_here(make_job(inventories.prefix, out))

    after = by_uri(out)
    assert (first["counts"]["ok"], first["counts"]["errors"]) == (3, {"archived": 1})
    assert {uri[-3:] for uri in after if after[uri] != before.get(uri)} == {"ged", "new"}
    assert (record["counts"]["listed"], record["counts"]["removed"]) == (5, 1)


def test_archived_objects_of_an_inventory_are_asked_for_when_tried_again(
    tmp_path, make_job, run_job_here, s3_bucket, s3_client
):
    one = put_photo(s3_client, s3_bucket, "restored", 1)
    entries = [put_photo(s3_client, s3_bucket, "b", 2), {**one, "StorageClass": "GLACIER"}]
    uri = Inventories(s3_client, s3_bucket).publish(entries)
    first = run_job_here(make_job(uri, tmp_path / "out"))

    again = run_job_here(make_job(uri, tmp_path / "out"))
    retried = run_job_here(make_job(uri, tmp_path / "out"), retry_errors=True)

    assert first["counts"]["errors"] == again["counts"]["errors"] == {"archived": 1}
    assert (retried["counts"]["ok"], retried["counts"]["errors"]) == (2, {})
