import pytest

from jobs.errors import SpecError
from jobs.inputs import open_source
from jobs.inputs.objects import translate_glob
from jobs.storage.objects import to_utf8
from tests.support.files import put_files
from tests.support.inputs import uris_of


@pytest.mark.parametrize(
    ("glob", "matches"),
    [
        ("*.jpg", ["a.jpg", "ab.jpg"]),
        ("a?.jpg", ["ab.jpg"]),
        ("*/c.jpg", ["x/c.jpg"]),
        ("**/c.jpg", ["c/d/c.jpg", "x/c.jpg"]),
        ("**.jpg", ["a.jpg", "ab.jpg", "c/d/c.jpg", "x/c.jpg"]),
        ("[!a]*", ["d.JPG"]),
        ("[a-c][a-b].jpg", ["ab.jpg"]),
        ("x/*.[jp]*", ["x/c.jpg", "x/e.png"]),
        ("c/**", ["c/d/c.jpg"]),
    ],
)
def test_glob_takes_what_a_shell_would(tmp_path, storage, glob, matches):
    put_files(tmp_path, "a.jpg", "ab.jpg", "d.JPG", "x/c.jpg", "x/e.png", "c/d/c.jpg")
    assert uris_of(f"{tmp_path}/{glob}", storage, f"file://{tmp_path}") == matches


def test_literal_path_with_glob_characters_is_no_glob(tmp_path, storage):
    put_files(tmp_path, "a[1].jpg", "a1.jpg", "set[2]/x.jpg")
    assert uris_of(f"{tmp_path}/a[1].jpg", storage, f"file://{tmp_path}") == ["a[1].jpg"]
    assert uris_of(f"{tmp_path}/set[2]", storage, f"file://{tmp_path}") == ["set[2]/x.jpg"]


def test_names_that_are_not_utf8_are_matched_as_they_are(tmp_path, storage):
    put_files(tmp_path, "a b/x\udcff.jpg", "a b/x%FF.jpg", "c%FF/ü d.jpg", "e\udcff/f.jpg")
    root = f"file://{to_utf8(str(tmp_path))}"
    names = [uri.rpartition("/")[2] for uri in uris_of(f"{tmp_path}/a b/*.jpg", storage, root)]
    assert names == ["x%25FF.jpg", "x%FF.jpg"]
    for glob, expected in (("c%FF/*d.jpg", "c%25FF/%C3%BC%20d.jpg"), ("*/f.jpg", "e%FF/f.jpg")):
        assert uris_of(f"{tmp_path}/{glob}", storage, root) == [expected]
    assert uris_of(f"{tmp_path}/e\udcff/?.jpg", storage, root) == ["e%FF/f.jpg"]


def test_unclosed_bracket_and_dots_are_literal():
    assert translate_glob("a[b.jpg") == r"a\[b\.jpg"


def test_s3_prefix_and_glob(s3_bucket, storage):
    for key in ("photos/a.jpg", "photos/b/c.jpg", "photos/d.png", "photos2/e.jpg"):
        storage.write(f"s3://{s3_bucket}/{key}", b"x")
    root = f"s3://{s3_bucket}"
    assert uris_of(f"{root}/photos", storage, root) == [
        "photos/a.jpg",
        "photos/b/c.jpg",
        "photos/d.png",
    ]
    assert uris_of(f"{root}/photos/*.jpg", storage, root) == ["photos/a.jpg"]
    assert uris_of(f"{root}/ph*s?/*", storage, root) == ["photos2/e.jpg"]
    assert len(uris_of(root, storage, root)) == 4


def test_glob_in_the_bucket_name_is_refused(s3_environment, storage):
    with pytest.raises(SpecError, match="must name its bucket"):
        open_source("s3://*/photos", storage)


@pytest.mark.parametrize("glob", ["[z-a].jpg", "x[].jpg", "[!]"])
def test_brackets_that_mean_nothing_are_named(tmp_path, storage, glob):
    put_files(tmp_path, "a.jpg")
    with pytest.raises(SpecError, match=r"is no glob: .*; see its brackets"):
        open_source(f"{tmp_path}/{glob}", storage)
