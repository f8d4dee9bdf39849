import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.inputs.cells import CellReader
from jobs.storage import Fetched, Storage

IMAGES = [random.Random(n).randbytes(5000) for n in range(6)]


@pytest.fixture
def path(tmp_path):
    """Three row groups of two images, whose pages have checksums."""
    options = {"use_dictionary": False, "compression": "none", "write_page_checksum": True}
    pq.write_table(pa.table({"image": IMAGES}), tmp_path / "a.parquet", row_group_size=2, **options)
    return tmp_path / "a.parquet"


class FlippingStorage(Storage):
    """Changes a bit of an image on its way to the reader, so many times."""

    def __init__(self, image: bytes, times: int) -> None:
        self.image, self.times = image[:100], times

    def read(self, uri, **options):
        got = super().read(uri, **options)
        if not self.times or self.image not in got.data:
            return got
        self.times -= 1
        return Fetched(got.data.replace(self.image, flipped(self.image)), got.etag)


def flipped(image: bytes) -> bytes:
    return image[:-1] + bytes([image[-1] ^ 1])


def cells(storage: Storage, path) -> list[bytes | str]:
    got = CellReader(storage, f"file://{path}", range(6), None, None).read(0, 6)
    return [cell.data if isinstance(cell, Fetched) else cell.kind for cell in got]


def test_bit_flipped_on_its_way_is_read_again(path):
    assert cells(FlippingStorage(IMAGES[3], 1), path) == IMAGES


@pytest.mark.parametrize("on_its_way", [True, False])
def test_bit_that_stays_flipped_never_passes(path, on_its_way):
    storage = FlippingStorage(IMAGES[3], 99) if on_its_way else Storage()
    if not on_its_way:
        path.write_bytes(path.read_bytes().replace(IMAGES[3], flipped(IMAGES[3])))
    assert cells(storage, path) == [*IMAGES[:2], "storage", "storage", *IMAGES[4:]]
