"""A job as it is with GPUs, but without its network.

python -m tests.benchmarks.feeding_job TRACE INPUT OUTPUT
"""

import sys

import jobs.labelling.pipeline
from jobs.job.checks import check_job
from jobs.job.resolve import resolve_job
from jobs.job.spec import load_job_spec
from jobs.labelling.cluster import running_ray
from jobs.labelling.pipeline import build_dataset, run_dataset
from jobs.storage import Storage
from tests.benchmarks.feeding_stage import NetworklessPredictor
from tests.benchmarks.trace import Tracer, let_workers_import_tests
from tests.support.jobs import placed

_SMALL_CHUNKS = 128  # the first of a listing


def main(trace: str, source: str, output: str) -> None:
    let_workers_import_tests()
    jobs.labelling.pipeline.ChunkPredictor = NetworklessPredictor
    spec = load_job_spec({"input": source, "output": output, "weights": "untrained", "num_gpus": 0})
    with running_ray(verbose=False) as resources:
        job = resolve_job(check_job(spec, Storage()), resources)
        apart = placed(job, separate_decode=True, num_cpus=0.0, actors=(1, 1))
        tracer = Tracer(trace)
        for number, summary in enumerate(run_dataset(build_dataset(apart, frozenset()))):
            if number >= _SMALL_CHUNKS:
                tracer.batch(summary.objects, summary.seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
