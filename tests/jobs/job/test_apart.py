import pytest

from jobs.dataset.layout import Layout
from jobs.errors import SpecError
from jobs.job.apart import check_apart
from jobs.storage import to_uri


def check(source, output):
    check_apart(to_uri(str(source)), Layout.of(str(output)))


@pytest.fixture
def data(tmp_path):
    """A folder, a link to it, and a link in it that leads elsewhere."""
    (tmp_path / "data" / "photos").mkdir(parents=True)
    (tmp_path / "link").symlink_to("data")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / "photos" / "away").symlink_to(tmp_path / "elsewhere")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("data/photos", "data/photos/out"),
        ("data/photos", "data/photos"),
        ("data/photos", "link/photos/out"),
        ("link/photos/", "data/photos/new/out"),
        ("link", "data/photos/../out/"),
        ("data/photos", "data/photos/away"),
        ("data", "link/photos/away/out"),
        ("data/photos/*/outcome=*/*", "data/photos/away"),
        ("data/**", "data/out"),
        ("link/*/*/*.parquet", "data/out"),
        ("data/ph*/*/job.json", "link/photos"),
        ("s3://b/photos/", "s3://b/photos/out"),
        ("s3://b", "s3://b/out"),
        ("s3://b/*/_SUCCESS", "s3://b/out"),
    ],
)
def test_an_output_inside_the_input_is_refused(data, monkeypatch, source, output):
    monkeypatch.chdir(data.parent)

    with pytest.raises(SpecError, match=r"lies inside input .*; choose an OUTPUT beside it"):
        check(source, output)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("data/photos", "data"),
        ("data/photos", "link/"),
        ("link/photos/a.jpg", "data/photos"),
        ("data/photos/*.jpg", "data/photos"),
        ("data/photos/**/*.jpg", "link"),
        ("data/photos/away", "link/photos"),
        ("elsewhere", "."),
        ("s3://b/photos/*.jpg", "s3://b/photos/"),
        ("s3://b/out/photos", "s3://b/out"),
        ("s3://b/list.csv", "s3://b"),
    ],
)
def test_an_output_around_the_input_is_refused(data, monkeypatch, source, output):
    monkeypatch.chdir(data.parent)

    with pytest.raises(SpecError, match=r"holds input .*; choose an OUTPUT beside it"):
        check(source, output)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("data/photos", "data/photos2"),
        ("data/photos2", "data/photos"),
        ("data/photos/*.jpg", "data/photos/out"),
        ("data/*/*.jpg", "data/out"),
        ("s3://b/photos/", "s3://b/photos-out"),
        ("s3://b/photos", "s3://c/photos/out"),
        ("s3://b/**/*.jpg", "s3://b/out"),
        ("data/photos", "s3://b/data/photos/out"),
        ("data/photos/away", "data/out"),
        ("data/photos/*.jpg", "data/photos/away"),
        ("/*.jpg", "data"),
    ],
)
def test_what_lies_apart_is_taken(data, monkeypatch, source, output):
    monkeypatch.chdir(data.parent)

    check(source, output)


def test_the_paths_behind_links_are_said(data, tmp_path):
    with pytest.raises(SpecError) as caught:
        check(data, tmp_path / "link" / "out")

    assert f"output file://{tmp_path}/link/out ({data}/out) lies inside" in str(caught.value)
    assert f"input file://{data};" in str(caught.value)
