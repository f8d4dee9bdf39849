import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import SpecError
from jobs.storage import local_path, resolve_uri, to_uri
from jobs.storage.objects import to_utf8
from tests.support.files import put_files


def test_plain_path_becomes_absolute_file_uri(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert to_uri("a b%41#.jpg") == f"file://{tmp_path}/a b%41#.jpg"


@pytest.mark.parametrize("uri", ["s3://b/k%41 #", "file:///a/b"])
def test_uris_stay_as_they_are(uri):
    assert to_uri(uri) == uri


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("s3a://b/k%41", "s3://b/k%41"),
        ("S3N://b/k", "s3://b/k"),
        ("file:/a/b", "file:///a/b"),
        ("file://localhost/a/b", "file:///a/b"),
        ("FILE:///a/b", "file:///a/b"),
        ("~/a", "file:///home/me/a"),
        ("~", "file:///home/me"),
        ("./~/a", "file:///now/~/a"),
    ],
)
def test_other_names_of_the_same_place(monkeypatch, text, uri):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr(os, "getcwd", lambda: "/now")
    assert to_uri(text) == resolve_uri(text) == uri


def test_escapes_of_file_uris_are_decoded_unless_a_file_is_called_so(tmp_path):
    put_files(tmp_path, "a%20b")
    assert resolve_uri(f"file:{tmp_path}/a%20b") == f"file://{tmp_path}/a%20b"
    assert resolve_uri(f"file:{tmp_path}/c%20d/*.jpg") == f"file://{tmp_path}/c d/*.jpg"
    assert resolve_uri(f"{tmp_path}/c%20d") == f"file://{tmp_path}/c%20d"


def test_a_file_of_another_machine_is_refused():
    with pytest.raises(SpecError, match=r"'file://host/a'.*supported are s3://, file:///"):
        to_uri("file://host/a")


def test_unknown_scheme_is_refused_with_the_supported_ones():
    with pytest.raises(SpecError, match=r"'gs://'.*supported are s3://, file:///"):
        to_uri("gs://bucket/x")


def test_path_that_is_not_utf8_survives_as_uri(tmp_path, storage):
    path = os.fsencode(tmp_path) + b"/\xff\xfe.jpg"
    Path(os.fsdecode(path)).write_bytes(b"x")
    (stored,) = storage.list(str(tmp_path))
    assert stored.uri.isascii()
    assert storage.read(stored.uri).data == b"x"


@pytest.mark.parametrize(
    "name",
    ["a.jpg", "ü b.jpg", "100%.jpg", "a%20b.jpg", "%41", "a%C3%BC", "a%00b", "%", "%zz"],
)
def test_ordinary_names_stay_as_they_are(name):
    assert to_utf8(name) == name


def test_no_two_names_have_the_same_uri(tmp_path, storage):
    names = [
        "\udcff",
        "%FF",
        "%ff",
        "%25FF",
        "%2525FF",
        "%C3",
        "\udcc3",
        "%25C3%20",
        "a%00%FF",
        "ü",
    ]
    put_files(tmp_path, *names)
    listed = {stored.uri: storage.read(stored.uri).data for stored in storage.list(str(tmp_path))}

    assert sorted(listed.values()) == sorted(map(os.fsencode, names))
    assert all(storage.head(uri) for uri in listed)
    assert f"file://{tmp_path}/%FF" in listed  # of the name that is not UTF-8


@given(st.binary(min_size=1, max_size=12) | st.text("%2FfC34", max_size=9).map(str.encode))
def test_escaped_names_are_given_back(raw):
    path = "/" + os.fsdecode(raw.replace(b"\0", b"0"))
    uri = "file://" + to_utf8(path)

    uri.encode()
    assert local_path(uri) == path


def test_a_name_that_was_encoded_is_never_read_as_another(tmp_path, storage):
    put_files(tmp_path, "\udcff", "%FF")
    (uri,) = (x.uri for x in storage.list(str(tmp_path)) if x.uri.endswith("/%FF"))
    (tmp_path / "\udcff").unlink()

    assert storage.head(uri) is None


def test_raw_name_wins_over_percent_decoded_name(tmp_path):
    put_files(tmp_path, "a%41", "aA", "b A")
    assert local_path(f"file://{tmp_path}/a%41").endswith("a%41")
    assert local_path(f"file://{tmp_path}/b%20A").endswith("b A")


def test_storage_can_be_pickled(storage, tmp_path):
    put_files(tmp_path, "a")
    assert pickle.loads(pickle.dumps(storage)).read(f"{tmp_path}/a").data == b"a"
