from collections import Counter

import pytest

from jobs.tallies import add, count, describe, shorten, suffix_of


@pytest.mark.parametrize(
    ("uri", "suffix"),
    [
        ("s3://b/photos/a.JPG", ".jpg"),
        ("file:///d/archive.tar.gz", ".gz"),
        ("s3://b/shard.tar#a/b.Json", ".json"),
        ("s3://b/shard.tar#004", "no suffix"),
        ("s3://b/images.parquet#17", "no suffix"),
        ("s3://b/v1.2/README", "no suffix"),
        ("file:///d/.gitignore", "no suffix"),
        ("file:///d/Mr. Smith goes home", "no suffix"),
        ("file:///d/a." + "x" * 40, "no suffix"),
    ],
)
def test_suffix_is_that_of_the_last_part_of_a_name(uri, suffix):
    assert suffix_of(uri) == suffix


def test_tally_stays_small_however_many_names_there_are():
    tally, more = Counter[str](), Counter[str]()
    for number in range(5000):
        count(tally, f".{number}")
        count(more, f".x{number}")
    add(tally, more)

    assert len(tally) <= 1001
    assert tally.total() == 10_000
    assert len(shorten(tally)) == 21
    assert sum(shorten(tally).values()) == 10_000


def test_most_frequent_names_are_said_first_and_the_rest_in_one():
    tally = {".a": 1, ".b": 1, ".c": 5120, "other": 7, ".d": 2, ".e": 3, ".f": 4}

    assert describe(tally) == "5,120 .c, 4 .f, 3 .e, 2 .d, 1 .a, 8 other"
