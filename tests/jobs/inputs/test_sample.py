import pyarrow as pa
import pytest

from jobs.inputs.rows import objects_table
from jobs.inputs.sample import draw_sample


def listing(count: int, per_table: int = 1000, **columns: list[int]) -> list[pa.Table]:
    table = objects_table(
        count,
        uri=[str(i) for i in range(count)],
        location=[str(i // 4000) for i in range(count)],
        **columns,
    )
    return [table.slice(start, per_table) for start in range(0, count, per_table)]


def numbers(sample: pa.Table) -> list[int]:
    return [int(uri) for uri in sample.column("uri").to_pylist()]


@pytest.mark.parametrize("count", [1_000, 7_777, 40_000])
def test_a_sample_lies_evenly_over_the_listing_and_in_its_order(count):
    *_, sample = draw_sample(iter(listing(count)), 100)

    drawn = numbers(sample.rows)
    assert len(drawn) == 100
    assert drawn == sorted(drawn)
    gaps = [after - before for before, after in zip([0, *drawn], [*drawn, count], strict=True)]
    assert max(gaps) < 3 * count / 100


def test_a_sample_depends_on_the_listing_and_not_on_its_pages():
    *_, small = draw_sample(iter(listing(5_000, per_table=37)), 64)
    *_, large = draw_sample(iter(listing(5_000)), 64)

    assert numbers(small.rows) == numbers(large.rows)


def test_of_few_objects_all_are_taken():
    (sample,) = draw_sample(iter(listing(5)), 64)

    assert numbers(sample.rows) == [0, 1, 2, 3, 4]


def test_what_was_listed_is_counted_as_far_as_it_is_known():
    tables = [*listing(10, size=[7] * 10), *listing(10)]

    first, both = draw_sample(iter(tables), 4)

    assert (first.objects, first.bytes, first.sized) == (10, 70, 10)
    assert (both.objects, both.bytes, both.sized) == (20, 70, 10)


def test_cells_are_drawn_in_runs_because_they_are_read_in_groups():
    *_, sample = draw_sample(iter(listing(10_000, row=list(range(10_000)))), 128)

    drawn = numbers(sample.rows)
    assert len(drawn) == 128
    assert len({number // 32 for number in drawn}) == 4
