"""What --include and --exclude choose, and what counts as passed over."""

import pytest

from jobs.errors import SpecError
from jobs.inputs import open_source
from jobs.inputs.names import Names
from tests.support.files import put_files
from tests.support.inputs import chosen, read_all, write_parquet, write_tar, write_text

TREE = ("a.jpg", "b.PNG", "notes.txt", "raw/c.jpg", "raw/deep/d.jpg", "raw/x")


def uris(source, storage, root):
    return [uri.removeprefix(root) for uri in read_all(source, storage)["uri"].to_pylist()]


@pytest.mark.parametrize(
    ("names", "left", "passed_over"),
    [
        (Names(), TREE, {}),
        (
            Names(include=("*.jpg", "*.png")),
            ("a.jpg", "b.PNG", "raw/c.jpg", "raw/deep/d.jpg"),
            {".txt": 1, "no suffix": 1},
        ),
        (Names(exclude=("raw/*",)), (*TREE[:3], "raw/deep/d.jpg"), {"raw/*": 2}),
        (Names(exclude=("raw/**",)), TREE[:3], {"raw/**": 3}),
        (Names(include=("*.jpg",), exclude=("c.*",)), ("a.jpg", "raw/deep/d.jpg"),
         {"c.*": 1, ".png": 1, ".txt": 1, "no suffix": 1}),
    ],
)  # fmt: skip
def test_globs_choose_by_the_name_or_by_the_path_below_input(
    tmp_path, storage, names, left, passed_over
):
    put_files(tmp_path / "in", *TREE)
    source = chosen(tmp_path / "in", storage, names)

    assert uris(source, storage, f"file://{tmp_path}/in/") == list(left)
    assert source.passed_over == passed_over


def test_paths_are_those_below_a_glob_s_folder_or_a_prefix(tmp_path, storage, s3_bucket):
    put_files(tmp_path, "in/raw/c.jpg", "in/d.jpg")
    for key in ("in/raw/c.jpg", "in/d.jpg", "in/._d.jpg"):
        storage.write(f"s3://{s3_bucket}/{key}", b"x")
    names = Names(exclude=("raw/*",))

    here = chosen(f"{tmp_path}/in/**", storage, names)
    assert uris(here, storage, f"file://{tmp_path}/in/") == ["d.jpg"]
    there = chosen(f"s3://{s3_bucket}/in", storage, names)
    assert uris(there, storage, f"s3://{s3_bucket}/in/") == ["d.jpg"]
    assert there.passed_over == {"raw/*": 1, "._*": 1}


def test_what_desktops_leave_behind_is_passed_over_unless_it_is_named_itself(tmp_path, storage):
    put_files(tmp_path, "a.jpg", "._a.jpg", "x/.DS_Store", "x/thumbs.db", "x/_.jpg")
    source = open_source(str(tmp_path), storage)

    assert uris(source, storage, f"file://{tmp_path}/") == ["a.jpg", "x/_.jpg"]
    assert source.passed_over == {"._*": 1, ".DS_Store": 1, "Thumbs.db": 1}
    named = open_source(f"{tmp_path}/._a.jpg", storage)
    assert uris(named, storage, f"file://{tmp_path}/") == ["._a.jpg"]


def test_names_below_a_folder_are_told_though_their_uri_is_encoded(tmp_path, storage):
    put_files(tmp_path, "a b/raw/x\udcff.jpg", "a b/y\udcff.jpg")
    source = chosen(tmp_path / "a b", storage, Names(exclude=("raw/*",)))

    assert [uri.rpartition("/")[2] for uri in uris(source, storage, "")] == ["y%FF.jpg"]


def test_members_of_a_tar_are_chosen_by_their_names(tmp_path, storage):
    members = dict.fromkeys(["./masks/a.png", "a.png", "._a.png", ".DS_Store", "b.jpg"], b"x")
    path = write_tar(tmp_path / "a.tar", members)
    source = chosen(path, storage, Names(exclude=("masks/*", "*.jpg")))

    assert uris(source, storage, f"file://{path}#") == ["a.png"]
    assert source.passed_over == {"masks/*": 1, "._*": 1, ".DS_Store": 1, "*.jpg": 1}


def test_rows_of_a_manifest_are_chosen_by_their_uris(tmp_path, storage):
    text = "uri,n\nraw/a.jpg,1\nb.jpg,2\n._c.jpg,3\nb.jpg,4\n"
    path = write_text(tmp_path / "m.csv", text)
    source = chosen(path, storage, Names(exclude=("raw/*",)))

    assert uris(source, storage, "") == ["b.jpg", "._c.jpg"]  # whoever lists a name means it
    assert (source.passed_over, source.duplicates) == ({"raw/*": 1}, 1)


def test_rows_without_names_cannot_be_chosen(tmp_path, storage):
    path = write_parquet(tmp_path / "i.parquet", image=[b"x"])
    with pytest.raises(SpecError, match=r"has no column 'uri'; leave them out"):
        chosen(path, storage, Names(include=("*.jpg",)))


def test_where_nothing_is_left_the_error_says_what_was_passed_over(tmp_path, storage):
    put_files(tmp_path, "a.png", "b.png", ".DS_Store")
    source = chosen(tmp_path, storage, Names(include=("*.jpg",)))

    with pytest.raises(SpecError, match=r"has no image: 2 \.png, 1 \.DS_Store passed over"):
        read_all(source, storage)


def test_counts_are_those_of_the_last_time(tmp_path, storage):
    put_files(tmp_path, "a.jpg", ".DS_Store")
    source = open_source(str(tmp_path), storage)
    for _ in range(2):
        read_all(source, storage)

    assert source.passed_over == {".DS_Store": 1}
