"""The stages on a real Ray, decoding apart from the model as it is with GPUs."""

from dataclasses import replace

import pyarrow as pa
import pytest

from jobs.errors import JobError, SpecError
from jobs.labelling.attempts import MAX_ATTEMPTS, Attempts
from jobs.labelling.cluster import running_ray
from jobs.labelling.pipeline import build_dataset, run_dataset, run_parallel
from jobs.listing.stream import list_chunks
from jobs.storage import Storage
from tests.support.images import encode, photo
from tests.support.jobs import GOOD, ODD, chunk_tables, label_chunks, placed

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]


@pytest.fixture(scope="module")
def ray():
    with running_ray(verbose=False) as resources:
        yield resources


def test_decoding_in_tasks_of_its_own_labels_as_one_process_does(ray, photos, tmp_path, make_job):
    names = [*GOOD, *ODD, *(f"{number}.jpg" for number in range(152))]
    for number, name in enumerate(names[8:]):
        (photos / name).write_bytes(encode(photo(120, 90, seed=number), "JPEG"))
    manifest = tmp_path / "list.csv"
    manifest.write_text("\n".join(["uri", *[f"{photos}/{name}" for name in names]]))
    alone = make_job(manifest, tmp_path / "alone")
    job = make_job(manifest, tmp_path / "out")
    apart = placed(job, separate_decode=True, num_cpus=0.0, actors=(1, 1))

    list(label_chunks(alone))
    summaries = list(run_dataset(build_dataset(apart, frozenset())))

    assert sorted((x.objects, x.errors) for x in summaries) == [*[(32, 0)] * 4, (32, 4)]
    assert summaries[-1].total == 160
    assert not list(Storage().list(job.layout.attempts))
    expected = chunk_tables(tmp_path / "alone")
    assert chunk_tables(tmp_path / "out") == expected
    scores = pa.concat_tables(expected.values()).column("score").drop_null()
    assert len(scores.unique()) == len(scores) == 156  # no two images are the same


def test_what_a_worker_has_to_say_arrives_as_it_was_said(ray, photos, tmp_path, make_job):
    manifest = tmp_path / "list.csv"
    first = [f"{photos}/{number}.jpg" for number in range(1500)]
    manifest.write_text("uri,n\n" + "".join(f"{uri},1\n" for uri in first) + '"",2\n')
    job = make_job(manifest, tmp_path / "out")

    with pytest.raises(SpecError, match=r"row 1501 of .*list.csv has no uri"):
        list(run_dataset(build_dataset(job, frozenset())))


@pytest.mark.parametrize("apart", [False, True])
def test_what_a_stage_has_to_say_arrives_as_it_was_said(ray, photos, tmp_path, make_job, apart):
    job = placed(make_job(photos, tmp_path / "out"), separate_decode=apart, actors=(1, 1))
    ((chunk, _),) = list_chunks(job, frozenset())
    for _ in range(MAX_ATTEMPTS):
        Attempts(job.layout, job.run_id).begin_chunk(chunk.id)

    with pytest.raises(JobError, match=r"^chunk \S+ was begun 10 times .* what Ray says\)$"):
        list(run_dataset(build_dataset(job, frozenset())))


def test_what_a_worker_has_to_say_as_it_starts_arrives_as_it_was_said(
    ray, photos, tmp_path, make_job
):
    job = placed(make_job(photos, tmp_path / "out"), actors=(1, 1))
    job = replace(job, inference=replace(job.inference, weights_sha256="of others"))

    with pytest.raises(JobError, match=r"^model 'inception_v3' is not the same on this machine"):
        list(run_dataset(build_dataset(job, frozenset())))


def _square_or_fail(number: int) -> int:
    if number == 13:
        raise JobError("thirteen is not for squaring")
    return number * number


def test_parallel_calls_keep_their_order_and_their_errors(ray):
    assert run_parallel(_square_or_fail, range(4)) == [0, 1, 4, 9]
    with pytest.raises(JobError, match="thirteen is not for squaring"):
        run_parallel(_square_or_fail, [1, 13])
