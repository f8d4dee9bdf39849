import pyarrow as pa

from jobs.inputs.rows import objects_table
from jobs.listing.chunks import cut_chunks


def listing(count: int, per_table: int = 1000) -> list[pa.Table]:
    uris = [f"s3://b/{number:06d}.jpg" for number in range(count)]
    return [
        objects_table(len(part), uri=part, location=part, size=[1] * len(part))
        for part in (uris[i : i + per_table] for i in range(0, count, per_table))
    ]


def uris(chunks) -> list[str]:
    return [uri for chunk in chunks for uri in chunk.objects.column("uri").to_pylist()]


def test_every_object_is_in_one_chunk_in_order():
    chunks = list(cut_chunks(listing(5_321)))

    assert uris(chunks) == uris_of(listing(5_321))


def uris_of(tables: list[pa.Table]) -> list[str]:
    return [uri for table in tables for uri in table.column("uri").to_pylist()]


def test_first_chunks_are_small_and_later_ones_large():
    sizes = [chunk.objects.num_rows for chunk in cut_chunks(listing(40_000))]

    assert sizes[0] == 32
    assert max(sizes) == 512
    assert sizes[:-1] == sorted(sizes[:-1])


def test_chunks_do_not_depend_on_how_the_listing_came():
    one = [chunk.id for chunk in cut_chunks(listing(3_000, per_table=1000))]
    other = [chunk.id for chunk in cut_chunks(listing(3_000, per_table=7))]

    assert one == other


def test_ids_differ_where_the_objects_differ():
    changed = listing(100)
    changed[0] = changed[0].set_column(4, changed[0].schema.field("size"), pa.array([2] * 100))

    before = {chunk.id for chunk in cut_chunks(listing(100))}
    assert before.isdisjoint(chunk.id for chunk in cut_chunks(changed))
    assert len(before) == 4


def test_large_rows_make_small_chunks():
    chunks = list(cut_chunks(listing(100), row_bytes=64 * 1024 * 1024))

    assert {chunk.objects.num_rows for chunk in chunks} == {2}


def test_large_carried_columns_make_small_chunks():
    heavy = [
        table.append_column("mask", pa.array(["x" * 200_000] * table.num_rows))
        for table in listing(100)
    ]

    sizes = {chunk.objects.num_rows for chunk in cut_chunks(heavy)}

    assert sizes == {5}
