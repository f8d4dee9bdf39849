"""What INPUT is: each kind of folder and file, and the sentence that refuses what is unclear."""

import pytest

from jobs.errors import SpecError
from jobs.inputs import open_source
from jobs.storage import Storage
from tests.support.files import put_files
from tests.support.images import encode, photo
from tests.support.inputs import write_parquet, write_tar, write_text

PNG = encode(photo(8, 8), "PNG")
LIST = {"uri": ["x.jpg"]}


def put_all(folder, names):
    """Write small files of the kinds that their names stand for."""
    for name in names.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        match name.lower().rpartition(".")[2]:
            case "tar":
                write_tar(folder / name, {"x.jpg": b"1"})
            case "parquet":
                write_parquet(folder / name, **(LIST if "list" in name else {"image": [PNG]}))
            case "csv" | "tsv" | "txt":
                write_text(folder / name, "uri\nx.jpg\n")
            case "jsonl" | "ndjson":
                write_text(folder / name, '{"uri":"x.jpg"}\n')
            case _:
                put_files(folder, name)


@pytest.mark.parametrize(
    ("names", "input_", "kind", "beside"),
    [
        ("a.jpg b/c.png", "", "objects", {}),
        ("a.jpg a.json a.txt list.csv .hidden", "", "objects", {}),
        ("a.txt b.txt", "", "objects", {}),
        ("notes.json", "", "objects", {}),
        ("a.tar b.TAR", "", "webdataset", {}),
        ("a.tar a.json README.md .git/x _meta/a.tar", "", "webdataset",
         {".json": 1, ".md": 1, "no suffix": 1, ".tar": 1}),
        ("00000.tar 00000.parquet 00000_stats.json", "", "webdataset", {".parquet": 1, ".json": 1}),
        ("a.parquet b/c.parquet", "", "parquet", {}),
        ("_SUCCESS _metadata _started_1 .a.parquet.crc a.parquet Thumbs.db", "", "parquet",
         {"no suffix": 3, ".crc": 1, ".db": 1}),
        (".gitattributes README.md data/a.parquet list.csv", "", "parquet",
         {"no suffix": 1, ".md": 1, ".csv": 1}),
        ("list-0.parquet list-1.parquet", "", "manifest", {}),
        ("_SUCCESS _common_metadata _committed_1 list.parquet", "", "manifest", {"no suffix": 3}),
        ("_SUCCESS a.csv b.csv", "", "manifest", {"no suffix": 1}),
        ("s.parquet/_SUCCESS s.parquet/list.parquet", "s.parquet", "manifest", {"no suffix": 1}),
        ("_SUCCESS list.parquet b.jpg", "*.parquet", "manifest", {}),
        ("_SUCCESS list.parquet", "*", "manifest", {"no suffix": 1}),
        ("a.jpg b.tar", "*", "objects", {}),
        ("_train-0.tar _train-1.tar", "_train-*.tar", "webdataset", {}),
        ("a.jpg", "a.jpg", "objects", {}),
        ("a.json", "a.json", "objects", {}),
        ("a.tar", "a.tar", "webdataset", {}),
        ("a.parquet", "a.parquet", "parquet", {}),
        ("list.parquet", "list.parquet", "manifest", {}),
        *((f"a.{x}", f"a.{x}", "manifest", {}) for x in ("csv", "tsv", "txt", "jsonl", "ndjson")),
    ],
)  # fmt: skip
def test_input_is_told_by_its_names(tmp_path, storage, names, input_, kind, beside):
    put_all(tmp_path, names)
    source = open_source(f"{tmp_path}/{input_}", storage)
    assert (source.kind, source.beside) == (kind, beside)
    list(source.tables(storage))
    assert source.passed_over == beside


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("a.tar b.jpg", "a.tar and .*b.jpg; choose --input-format webdataset .* objects to take"),
        ("b.jpg a/z.tar", "z.tar and .*b.jpg; choose --input-format webdataset to read"),
        (
            "a.parquet b",
            "choose --input-format parquet or manifest to read .* or --input-format ob",
        ),
        ("b.bin list.parquet", "choose --input-format parquet or manifest"),
        (
            "a.tar b.parquet",
            "webdataset to read the .tar files alone, or --input-format parquet or",
        ),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(tmp_path, storage, names, message):
    put_all(tmp_path, names)
    with pytest.raises(SpecError, match=f"can be read in two ways, as it holds .*{message}"):
        open_source(str(tmp_path), storage)


@pytest.mark.parametrize(
    ("names", "asked", "beside"),
    [
        ("a.tar b.jpg list.parquet", "objects", {}),
        ("a.tar b.jpg list.parquet", "webdataset", {".jpg": 1, ".parquet": 1}),
        ("a.tar b.jpg list.parquet", "manifest", {".jpg": 1, ".tar": 1}),
        ("a.tar b.jpg list.csv", "manifest", {".jpg": 1, ".tar": 1}),
        ("list.parquet list.csv", "manifest", {".csv": 1}),
        ("a.tar b.jpg c.parquet", "parquet", {".jpg": 1, ".tar": 1}),
    ],
)
def test_option_decides(tmp_path, storage, names, asked, beside):
    put_all(tmp_path, names)
    source = open_source(str(tmp_path), storage, input_format=asked)
    assert (source.kind, source.beside) == (asked, beside)


@pytest.mark.parametrize(
    ("input_", "asked", "message"),
    [
        ("", "webdataset", "--input-format webdataset is for tar files; input .* has none"),
        ("", "parquet", "--input-format parquet is for Parquet files; input .* has none"),
        ("", "manifest", "--input-format manifest is for tables; input .* has none"),
        ("a.jpg", "manifest", r"the name of .*a.jpg does not say .* end in .parquet, .csv, .tsv"),
    ],
)
def test_option_that_fits_no_file_is_refused(tmp_path, storage, input_, asked, message):
    put_all(tmp_path, "a.jpg")
    with pytest.raises(SpecError, match=message):
        open_source(f"{tmp_path}/{input_}", storage, input_format=asked)


def test_list_in_another_compression_is_refused(tmp_path, storage):
    put_files(tmp_path, "a.csv.zst")
    with pytest.raises(SpecError, match=r"list .*a.csv.zst has to be plain or gzipped; compress"):
        open_source(f"{tmp_path}/a.csv.zst", storage)


def test_image_column_goes_with_parquet_alone(tmp_path, storage):
    put_all(tmp_path, "a.jpg")
    with pytest.raises(SpecError, match="--image-column is for --input-format parquet, not for ob"):
        open_source(str(tmp_path), storage, input_format="objects", image_column="image")


def test_a_late_odd_file_among_many_shards_is_noticed(tmp_path, storage):
    put_files(tmp_path, *(f"{number:04}.tar" for number in range(600)), "z.jpg")
    with pytest.raises(SpecError, match=r"0000.tar and .*z.jpg"):
        open_source(str(tmp_path), storage)


class CountingStorage(Storage):
    """Counts the listings, and what was taken from them."""

    def __init__(self) -> None:
        self.listings = self.taken = 0

    def list(self, uri, **options):
        self.listings += 1
        for stored in super().list(uri, **options):
            self.taken += 1
            yield stored


@pytest.mark.parametrize(("input_", "taken"), [("", 500), ("**/*.jpg", 1)])
def test_images_are_listed_once_and_not_to_the_end(tmp_path, input_, taken):
    put_files(tmp_path, *(f"{number:04}.jpg" for number in range(600)), "z.tar")
    storage = CountingStorage()
    assert open_source(f"{tmp_path}/{input_}", storage).kind == "objects"
    assert (storage.listings, storage.taken) == (1 + bool(input_), taken)
