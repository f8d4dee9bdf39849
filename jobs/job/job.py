"""A plan: everything that was resolved before any work, and all that a worker needs to know."""

import uuid
from dataclasses import dataclass, field

import pyarrow as pa

from jobs.dataset.layout import Layout
from jobs.dataset.schema import Origin, output_schema, row_bytes
from jobs.inputs import Source
from jobs.job.spec import JobSpec
from model_repo.inception_v3.options import RuntimeOptions
from model_repo.inception_v3.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Resources:
    """What there is to run on."""

    cpus: int
    gpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One job, resolved.

    Attributes:
        spec: what the user asked for.
        source: what is listed.
        model: what predicts, and how images are prepared for it.
        weights_sha256: of the weights that every worker must load.
        options: how the network runs; nothing is left at `auto`.
        batch_size: images of one forward pass.
        actors: smallest and largest number of actors.
        num_cpus, num_gpus: that each actor takes.
        separate_decode: decode in tasks of their own rather than in the actors.
        resources: what all of them share.
        run_id: tells one run of the command from the next.
    """

    spec: JobSpec
    source: Source
    layout: Layout
    model: ModelSpec
    weights_sha256: str
    options: RuntimeOptions
    batch_size: int
    actors: tuple[int, int]
    num_cpus: float
    num_gpus: float
    separate_decode: bool
    resources: Resources
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def chunks_in_hand(self) -> int:
        """Return how many chunks an actor has in hand.

        With a GPU several: while one is computed, the rows of others are written and the next is
        copied to the device. Where it dies, Ray repeats them all, and writing is atomic.
        """
        return 4 if self.separate_decode else 1

    @property
    def origin(self) -> Origin:
        """Return what every row says of its maker."""
        return Origin(
            self.model.name,
            self.model.version,
            self.weights_sha256,
            self.options.precision,
        )

    @property
    def row_bytes(self) -> int:
        """Return how many bytes the arrays of one row take."""
        return row_bytes(self.options.outputs)

    @property
    def schema(self) -> pa.Schema:
        """Return every column that a row may have."""
        return output_schema(self.options.outputs, self.source.carried)
