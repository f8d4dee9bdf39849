import pytest

from jobs.errors import SpecError
from jobs.job.checks import check_job, with_absolute_paths
from jobs.job.resolve import resolve_job
from jobs.job.spec import load_job_spec
from jobs.resources import Resources
from jobs.storage import Storage
from tests.support.jobs import GOOD


def test_local_paths_become_absolute_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {"input": "s3://b/photos/", "output": "b"}
    options = {"weights": "w.pt", "labels": "s3://b/l.txt", "model_repository": "models"}
    spec = load_job_spec(places | options)

    changed = {"weights": str(tmp_path / "w.pt"), "model_repository": str(tmp_path / "models")}
    assert with_absolute_paths(spec) == spec.model_copy(update=changed)
    untrained = load_job_spec(places | {"weights": "untrained:7"})
    assert with_absolute_paths(untrained) == untrained
    local = load_job_spec({"input": "photos", "output": "b"})
    assert with_absolute_paths(local).input == f"file://{tmp_path}/photos"


def check(input_, output, config=None, **options):
    values = {"weights": "untrained", **options, "input": str(input_), "output": str(output)}
    return check_job(load_job_spec(values, config), Storage())


def test_checking_leaves_no_folder_that_was_not_there(photos, tmp_path):
    check(photos, tmp_path / "new" / "folder" / "out")
    assert not (tmp_path / "new").exists()

    (tmp_path / "there").mkdir()
    check(photos, tmp_path / "there" / "out")
    check(photos, tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []


def test_a_link_in_the_input_that_leads_to_the_output_is_followed(photos, tmp_path):
    (tmp_path / "elsewhere" / "more").mkdir(parents=True)
    (tmp_path / "elsewhere" / "more" / "1.jpg").write_bytes((photos / GOOD[0]).read_bytes())
    (photos / "link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(SpecError, match=r"elsewhere/out lies inside input .*/photos/link \(/.*\);"):
        check(photos, tmp_path / "elsewhere" / "out")
    with pytest.raises(SpecError, match=r"elsewhere/more holds input|lies inside input"):
        check(photos, tmp_path / "elsewhere" / "more")
    assert check(f"{photos}/*.jpg", tmp_path / "elsewhere" / "out")

    (tmp_path / "empty").mkdir()
    (photos / "results").symlink_to(tmp_path / "empty")
    with pytest.raises(SpecError, match=r"empty/out lies inside input .*/photos/results \(/.*\);"):
        check(photos, tmp_path / "empty" / "out")


def test_entries_that_cannot_be_read_are_a_warning(photos, tmp_path):
    manifest = tmp_path / "list.csv"
    manifest.write_text("uri\n" + "".join(f"{photos}/no/{n}.jpg\n" for n in range(9)))
    warning = check(manifest, tmp_path / "out").warning
    assert warning == (
        f"none of the first 5 objects can be read: file://{photos}/no/0.jpg does not exist"
    )

    manifest.write_text(f"uri\n{photos}/no.jpg\n")
    assert check(manifest, tmp_path / "out").warning.startswith("the first object cannot be read: ")
    manifest.write_text(f"uri\n{photos}/no.jpg\n{photos}/{GOOD[0]}\n")
    assert check(manifest, tmp_path / "out").warning is None


def test_more_labels_than_classes_are_refused_wherever_they_are_asked_for(photos, tmp_path):
    (tmp_path / "labels.txt").write_text("cat\ndog\nhen")
    (tmp_path / "job.yaml").write_text("top-k: 4")
    model = {"labels": str(tmp_path / "labels.txt")}
    message = "^--top-k: 4 is more than the 3 classes of model 'inception_v3'$"

    with pytest.raises(SpecError, match=message):
        check(photos, tmp_path / "out", top_k=4, **model)
    with pytest.raises(SpecError, match=message):
        check(photos, tmp_path / "out", tmp_path / "job.yaml", **model)
    for asked in ({}, {"top_k": 3}):
        checked = check(photos, tmp_path / "out", **asked, **model)
        assert resolve_job(checked, Resources(cpus=1, gpus=0)).inference.top_k == 3
