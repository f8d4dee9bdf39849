"""Lists of every kind come out as they went in, or are refused by file, row and column."""

import gzip
import tracemalloc
from collections.abc import Callable

import pyarrow as pa
import pytest

from jobs.errors import SpecError
from jobs.inputs import open_source
from tests.support.inputs import read_all, write_text

BLOCK = 4 << 20


def columns(path, storage) -> dict[str, list]:
    source = open_source(str(path), storage)
    return read_all(source, storage).select(source.carried.names).to_pydict()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("ending", "text", "notes"),
    [
        ("csv", '\ufeffuri,note\r\na,x\r\n\r\nb,"y, ""z""\r\n"\r\n', ["x", 'y, "z"\r\n']),
        ("csv", "note,uri\rx,a\ry,b", ["x", "y"]),
        ("tsv", 'uri\tnote\na\tx,y\nb\t"\t"\n', ["x,y", "\t"]),
        ("jsonl", '{"uri":"a","note":"x"}\n\n{"uri":"b"}', ["x", None]),
        ("ndjson", '{"uri":"a"}\r\n{"note":"\u2028","uri":"b"}\r\n', [None, "\u2028"]),
        ("txt", "\ufeffa\n\n \r\nb\r\n", None),
    ],
)
def test_lists_are_read_plain_or_gzipped(tmp_path, storage, pack, ending, text, notes):
    path = tmp_path / (f"m.{ending}" if pack is bytes else f"m.{ending}.gz")
    path.write_bytes(pack(text.encode()))
    source = open_source(str(path), storage)
    rows = read_all(source, storage)
    assert (source.kind, rows["uri"].to_pylist()) == ("manifest", ["a", "b"])
    assert notes == (rows["note"].to_pylist() if notes else None)


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_line_breaks_in_quotes_stay_wherever_they_lie(tmp_path, storage, end):
    for place in range(BLOCK - 3, BLOCK + 3):
        head = 'uri,note\r\na,"'
        filled = "x" * 1000 + "\n"
        rest = place - len(head)
        value = filled * (rest // len(filled)) + "x" * (rest % len(filled)) + f"{end}y"
        path = write_bytes(tmp_path / "m.csv", f'{head}{value}"\r\nb,z\r\n'.encode())
        if len(value) > BLOCK:
            with pytest.raises(
                SpecError, match=r"row 1 of .*m.csv .*field larger than field limit"
            ):
                columns(path, storage)
        else:
            assert columns(path, storage) == {"note": [value, "z"]}


def write_bytes(path, data: bytes):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("values", "kind", "out"),
    [
        (["1", "2.5"], pa.float64(), [1.0, 2.5]),
        (["null", '"x"'], pa.string(), [None, "x"]),
        ([None, "true"], pa.bool_(), [None, True]),
        (["null", None], pa.string(), [None, None]),
        (["-1", "9223372036854775807"], pa.int64(), [-1, 2**63 - 1]),
        (["1", "18446744073709551615"], pa.uint64(), [1, 2**64 - 1]),
        (["-1", "18446744073709551615"], pa.string(), ["-1", "18446744073709551615"]),
        (["1", "18446744073709551616"], pa.string(), ["1", "18446744073709551616"]),
        (["0.5", "9007199254740993"], pa.string(), ["0.5", "9007199254740993"]),
        (["-9223372036854775809", "1"], pa.string(), ["-9223372036854775809", "1"]),
        (['"2024-01-01T00:00:00"'], pa.string(), ["2024-01-01T00:00:00"]),
        (['"x"', "1", '["y"]', "null"], pa.string(), ["x", "1", '["y"]', None]),
        (["true", "1"], pa.string(), ["true", "1"]),
        (["[]", "[1]", "[null, 0.5]"], pa.list_(pa.float64()), [[], [1.0], [None, 0.5]]),
        (["[]"], pa.list_(pa.string()), [[]]),
        (["{}", "{}"], pa.string(), ["{}", "{}"]),
        (
            ['{"a":1}', '{"b":null}', '{"a":0.5,"b":"x"}'],
            pa.struct([("a", pa.float64()), ("b", pa.string())]),
            [{"a": 1, "b": None}, {"a": None, "b": None}, {"a": 0.5, "b": "x"}],
        ),
        (['[{"a":1}]', '[{"a":"x"}]'], pa.list_(pa.struct([("a", pa.string())])),
         [[{"a": "1"}], [{"a": "x"}]]),
    ],
)  # fmt: skip
def test_json_columns_have_a_type_for_all_of_their_values(tmp_path, storage, values, kind, out):
    rows = ['{"uri":"u"' + ("}" if x is None else f', "c":{x}}}') for x in values]
    far = [f'{{"uri":"{number}"}}' for number in range(3000)]  # between the first and the others
    text = "\n".join(
        [rows[0], *far, *(row.replace('"u"', f'"u{i}"') for i, row in enumerate(rows))]
    )
    path = write_text(tmp_path / "m.jsonl", text)
    source = open_source(path, storage)
    if values == ["null", None]:
        assert source.carried == pa.schema([("c", pa.string())])
    assert source.carried.field("c").type == kind
    assert columns(path, storage)["c"] == [out[0], *[None] * 3000, *out]


def test_deep_and_wide_json_is_carried_as_text(tmp_path, storage):
    deep = "[" * 100 + "]" * 100
    wide = "{" + ",".join(f'"k{number}":1' for number in range(1001)) + "}"
    path = write_text(tmp_path / "m.jsonl", f'{{"uri":"a","deep":{deep},"wide":{wide}}}')
    (got,) = columns(path, storage)["wide"]
    assert got.replace(" ", "") == wide


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "uri,n\na,1\nb\n", "row 2 of .*m.csv has 1 values, but the header 2 names"),
        ("m.csv", 'uri\n"a\n', r"row 1 of .*m.csv \(line 2\): unexpected end of data"),
        ("m.csv", 'uri,n\na,"x"y\n', r"row 1 of .*m.csv \(line 2\): ',' expected after '\"'"),
        (
            "m.tsv",
            'uri\tn\na\t"so\nb\tso"\nc\td\n',
            "row 1 of .*m.tsv has a value that begins with",
        ),
        ("m.csv", b"uri\na\n\xff\n", "line 3 of .*m.csv is not UTF-8"),
        ("m.txt", "", "manifest .*m.txt is empty"),
        ("m.txt", b"a\n" + b"x" * (BLOCK + 1), "line 2 of .*m.txt has more than 4 MiB"),
        (
            "m.txt.gz",
            gzip.compress(b"a\nb\n", mtime=0)[:-4],
            "cannot read .*m.txt.gz as a table: .*ended",
        ),
        ("m.jsonl", "\n", "m.jsonl is empty; each line has to be a JSON object"),
        ("m.jsonl", '{"uri":"a"}\n{"uri":', "row 2 of .* is no JSON: expecting value at"),
        ("m.jsonl", '{"uri":"a"}\n"b"', "row 2 of .* is no JSON object"),
        ("m.jsonl", '{"uri":"a"}\n{"n":"\\ud800","uri":"b"}', "row 2 of .*value of 'n' cannot be"),
        ("m.jsonl", "[" * 100_000, "row 1 of .*m.jsonl cannot be read"),
        ("m.jsonl", '{"uri":"a","n":' + "1" * 5000 + "}", "row 1 of .*m.jsonl cannot be read"),
        ("m.jsonl", "".join(f'{{"k{x}":1}}\n' for x in range(1002)), "row 1001 .*1,000 different"),
    ],
    ids=lambda value: "" if len(value) > 99 else None,
)
def test_what_cannot_be_read_is_named(tmp_path, storage, name, text, message):
    path = write_bytes(tmp_path / name, text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpecError, match=message):
        columns(path, storage)


def test_lists_of_one_folder_have_the_columns_of_all(tmp_path, storage):
    write_text(tmp_path / "a.jsonl", '{"uri":"a","n":1}')
    write_text(tmp_path / "b.jsonl", '{"uri":"b","n":0.5,"m":[]}')
    source = open_source(str(tmp_path), storage)
    rows = read_all(source, storage)
    assert rows["n"].to_pylist() == [1.0, 0.5]
    assert rows["m"].to_pylist() == [None, []]
    write_text(tmp_path / "c.jsonl", '{"uri":"c","n":"x"}')
    with pytest.raises(SpecError, match=r"column 'n' of .*c.jsonl is string, but double in"):
        open_source(str(tmp_path), storage)


def long_csv(rows: int) -> str:
    return "uri,n\n" + "".join(f"{number}.jpg,{'x' * 200}\n" for number in range(rows))


def long_jsonl(rows: int) -> str:
    return "".join(f'{{"uri":"{n}.jpg","n":[{n}],"{"k" * (n % 9 + 1)}":1}}\n' for n in range(rows))


@pytest.mark.parametrize("write", [long_csv, long_jsonl])
def test_memory_does_not_grow_with_the_list(tmp_path, storage, write: Callable[[int], str]):
    peaks = []
    for rows in (5_000, 40_000):
        path = tmp_path / f"m.{write.__name__.removeprefix('long_')}.gz"
        path.write_bytes(gzip.compress(write(rows).encode()))
        tracemalloc.start()
        source = open_source(str(path), storage)
        source.may_repeat = False  # digests of all uris do grow
        assert sum(table.num_rows for table in source.tables(storage)) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
