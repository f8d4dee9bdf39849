import pytest

from jobs.errors import JobError, SpecError, StorageError
from jobs.inputs.rows import objects_table
from jobs.labelling.summary import Summary
from jobs.labelling.tasks import ChunkTask, or_error, pack, unpack
from jobs.storage.objects import DeniedError
from model_repo.inception_v3 import WeightsError


def test_packed_tasks_come_back_as_they_were():
    uris = [f"s3://b/{number:06d}.jpg" for number in range(10)]
    task = ChunkTask("one", objects_table(10, uri=uris, location=uris, size=[1] * 10), 10)

    again = unpack(pack(task), ChunkTask)

    assert (again.id, again.total) == ("one", 10)
    assert again.objects.equals(task.objects)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SpecError("s"), SpecError),
        (StorageError("s"), StorageError),
        (DeniedError("s"), DeniedError),
        (WeightsError("s"), JobError),
    ],
)
def test_an_error_is_raised_where_it_is_unpacked(error, kind):
    def fail() -> None:
        raise error

    with pytest.raises(JobError, match=r"^s$") as caught:
        unpack(pack(or_error(fail)), Summary)

    assert type(caught.value) is kind
