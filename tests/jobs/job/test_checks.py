from jobs.job.checks import with_absolute_paths
from jobs.job.spec import load_job_spec


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
