"""A job's last stage with a network that takes no time."""

from collections.abc import Callable

import numpy as np

from jobs.job.job import Job
from jobs.labelling.decode import Pixels
from jobs.labelling.stages import ChunkPredictor, Worker
from model_repo.inception_v3.classifier import Outputs
from model_repo.inception_v3.spec import ModelSpec


class NetworklessPredictor(ChunkPredictor):
    def __init__(self, job: Job, this_worker: Callable[[], Worker]) -> None:
        self._job = job
        self._worker = this_worker()
        self._classifier = _NoNetwork(job.inference.model)


class _NoNetwork:
    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def predict(self, pixels: Pixels) -> Outputs:
        return Outputs(logits=np.zeros((len(pixels), self.spec.num_classes), np.float32))
