import pytest

from jobs.errors import FetchError
from jobs.listing.chunks import cut_chunks
from jobs.listing.manifest import Manifest
from jobs.storage import Storage
from tests.jobs.listing.test_chunks import listing, uris, uris_of


@pytest.fixture
def manifest(tmp_path) -> Manifest:
    return Manifest(Storage(), f"file://{tmp_path}/manifest")


def test_recording_passes_chunks_on_and_totals_come_last(manifest):
    chunks = manifest.record(cut_chunks(listing(100)), lambda: (3, {".txt": 2}))
    first = next(chunks)

    assert manifest.totals() is None
    rest = list(chunks)

    totals = manifest.totals()
    assert uris([first, *rest]) == uris_of(listing(100))
    assert (totals.objects, totals.chunks, totals.bytes) == (100, 4, 100)
    assert (totals.duplicates, totals.passed_over) == (3, {".txt": 2})


def test_totals_of_earlier_releases_can_be_read(manifest, tmp_path):
    list(manifest.record(cut_chunks(listing(10)), lambda: (0, {".txt": 2})))
    complete = tmp_path / "manifest" / "complete.json"
    complete.write_text(complete.read_text().replace(', "passed_over": {".txt": 2}', ""))

    assert manifest.totals().passed_over == {}


def test_chunks_are_read_back_as_they_were_cut(manifest):
    written = list(manifest.record(cut_chunks(listing(150_000)), lambda: (0, {})))

    read = list(manifest.chunks())

    assert manifest.totals().parts > 1
    assert [chunk.id for chunk in read] == [chunk.id for chunk in written]
    assert uris(read) == uris(written)
    assert list(manifest.chunk_sizes()) == [(c.id, c.objects.num_rows) for c in written]


def test_parts_that_an_earlier_release_wrote_are_read(manifest, tmp_path):
    written = list(manifest.record(cut_chunks(listing(100)), lambda: (0, {})))
    (part,) = tmp_path.glob("manifest/part-00000.*")
    part.rename(part.with_suffix(".parquet"))

    assert uris(manifest.chunks()) == uris(written)
    part.with_suffix(".parquet").unlink()
    with pytest.raises(FetchError, match="part-00000"):
        list(manifest.chunks())


def test_chunks_that_are_done_are_left_out(manifest):
    written = list(manifest.record(cut_chunks(listing(100)), lambda: (0, {})))
    done = frozenset(chunk.id for chunk in written[:2])

    assert [chunk.id for chunk in manifest.chunks(without=done)] == [c.id for c in written[2:]]
