import struct

import pytest

from model_repo.inception_v3.decoding.decoded import MAX_PARTS
from model_repo.inception_v3.decoding.tiff import check_tiff_tags
from model_repo.inception_v3.errors import DecodeError


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_tiff_tags_are_read_in_every_layout(order, big):
    letter = "Q" if big else "I"
    magic = struct.pack(order + "2sH", b"II" if order == "<" else b"MM", 43 if big else 42)
    magic += struct.pack(order + "HHQ", 8, 0, 16) if big else struct.pack(order + "I", 8)
    entries = [(322, 3, 1), (323, 4, 1), (324, 4, MAX_PARTS + 1)]
    values = [struct.pack(order + "H", 256), struct.pack(order + "I", 128), b""]
    size = 8 if big else 4
    body = struct.pack(order + ("Q" if big else "H"), 3) + b"".join(
        struct.pack(order + "HH" + letter, *entry) + value.ljust(size, b"\0")
        for entry, value in zip(entries, values, strict=True)
    )

    assert check_tiff_tags(magic + body[: -(4 + 2 * size)]) == (256, 128)
    with pytest.raises(DecodeError, match="TIFF with 200,001 values of tag 324; the limit is 200"):
        check_tiff_tags(magic + body)
