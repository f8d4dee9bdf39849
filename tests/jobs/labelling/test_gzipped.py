import gzip

import pytest

from jobs.errors import FetchError
from jobs.labelling.gzipped import undo_gzip
from model_repo.inception_v3 import DecodeError

DATA = b"\xff\xd8\xff" + bytes(range(256)) * 100


def test_gzip_is_undone_once_and_other_bytes_stay():
    packed = gzip.compress(DATA)
    assert undo_gzip(packed) == DATA
    assert undo_gzip(packed + gzip.compress(b"more")) == DATA + b"more"
    assert undo_gzip(DATA) is DATA
    assert undo_gzip(b"") == b""


@pytest.mark.parametrize("cut", [3, 12, 40, -9, -1])
def test_damaged_gzip_is_an_unreadable_image(cut):
    with pytest.raises(DecodeError, match="compressed with gzip, and damaged") as caught:
        undo_gzip(gzip.compress(DATA)[:cut])
    assert caught.value.kind == "unreadable"


@pytest.mark.parametrize("plain", [b"hello " * 10_000, bytes(1 << 20), gzip.compress(DATA)])
def test_of_what_is_no_image_only_the_beginning_is_decompressed(plain):
    with pytest.raises(DecodeError) as caught:
        undo_gzip(gzip.compress(plain), 5000)
    assert caught.value.kind == "not_an_image"


def test_a_bomb_ends_at_the_limit():
    packed = gzip.compress(DATA + bytes((1 << 20) - len(DATA)))
    assert len(undo_gzip(packed, 1 << 20)) == 1 << 20
    with pytest.raises(FetchError, match="more than 1,048,575 bytes") as caught:
        undo_gzip(packed, (1 << 20) - 1)
    assert caught.value.kind == "too_large"
