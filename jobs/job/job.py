"""A job, resolved: everything that was decided before any work, and all that a worker needs."""

import uuid
from dataclasses import dataclass, field, replace

import pyarrow as pa

from jobs.dataset.layout import Layout
from jobs.dataset.schema import output_schema
from jobs.inputs import Source
from jobs.job.inference import InferenceSpec
from jobs.job.spec import JobSpec
from jobs.resources import Resources

SMALLEST_CHUNK = 32  # objects; the first chunks of a job have so many


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a job runs.

    Attributes:
        resources: what all of its actors and tasks share.
        actors: smallest and largest number of them.
        num_cpus, num_gpus: what each actor takes.
        separate_decode: decode in separate tasks, not in the actors.
    """

    resources: Resources
    actors: tuple[int, int]
    num_cpus: float
    num_gpus: float
    separate_decode: bool

    @property
    def chunks_in_hand(self) -> int:
        """Return how many chunks an actor works on at a time.

        Several with a GPU: while one is computed, the rows of others are written and the next is
        copied to the device. If the actor dies, Ray repeats them all, and writing is atomic.
        """
        return 4 if self.separate_decode else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the user asked for, what is listed, how it is labelled and where the rows go."""

    spec: JobSpec
    source: Source
    layout: Layout
    inference: InferenceSpec
    placement: Placement
    # Tells one run of the command from the next.
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def schema(self) -> pa.Schema:
        """Return every column that a row may have."""
        return output_schema(self.inference.options.outputs, self.source.carried)

    def of_generation(self, generation: int) -> "Job":
        """Return the same job, writing another generation of the dataset."""
        return replace(self, layout=replace(self.layout, generation=generation))
