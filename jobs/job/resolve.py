"""A spec that was checked, and what there is to run on → the job: what the spec leaves open."""

from jobs.dataset.layout import Layout
from jobs.errors import SpecError
from jobs.job.checks import Checked, as_spec_errors, top_k_of
from jobs.job.inference import InferenceSpec
from jobs.job.job import SMALLEST_CHUNK, Job, Placement
from jobs.job.model import model_source
from jobs.job.spec import JobSpec
from jobs.resources import Resources
from model_repo.inception_v3 import Model, RuntimeOptions, Weights, prepare
from model_repo.inception_v3.options import count_shares

# A GPU has too little to do with fewer; what does not fit into its memory is halved there.
_GPU_BATCH_SIZE = 128


def resolve_job(checked: Checked, resources: Resources) -> Job:
    """Choose what the spec leaves open.

    Raises:
        SpecError: the options do not go with each other, with the model or with the machines.
    """
    spec = checked.spec
    placement = _place(spec, resources, checked.first_rows)
    model, weights, on_gpu = checked.model, checked.weights, placement.num_gpus > 0
    inference = resolve_inference(spec, model, weights, on_gpu=on_gpu)
    with as_spec_errors():
        prepare(model, weights, inference.options)
    return Job(
        spec=spec,
        source=checked.source,
        layout=Layout.of(spec.output),
        inference=inference,
        placement=placement,
    )


def resolve_inference(
    spec: JobSpec, model: Model, weights: Weights, *, on_gpu: bool
) -> InferenceSpec:
    """Choose how the network runs.

    Raises:
        SpecError: the runtime or the precision does not go with the device, or the model has fewer
            classes than labels are wanted.
    """
    with as_spec_errors():
        options = RuntimeOptions(
            device="cuda" if on_gpu else "cpu",
            runtime=spec.runtime,
            precision=spec.precision or "auto",
            outputs=spec.outputs,
        ).resolve(model.precision)
    least = _GPU_BATCH_SIZE if on_gpu else 0
    return InferenceSpec(
        model=model.spec,
        source=model_source(spec),
        weights_sha256=weights.sha256,
        options=options,
        batch_size=spec.batch_size or max(model.spec.max_batch_size, least),
        top_k=top_k_of(spec, model),
        max_pixels=spec.max_pixels,
        image_column=spec.image_column,
    )


def _place(spec: JobSpec, resources: Resources, first_rows: int) -> Placement:
    num_gpus = _choose_gpus(spec, resources)
    largest = count_shares(resources.gpus, num_gpus) if num_gpus else resources.cpus
    # As many from the start as the first page of the listing keeps busy; the pool grows by itself.
    actors = spec.actor_range or (min(largest, -(-first_rows // SMALLEST_CHUNK)), largest)
    return Placement(
        resources=resources,
        actors=actors,
        # More actors than cores share them; with GPUs the cores are for decoding.
        num_cpus=0.0 if num_gpus else min(1.0, resources.cpus / actors[1]),
        num_gpus=num_gpus,
        separate_decode=num_gpus > 0,
    )


def _choose_gpus(spec: JobSpec, resources: Resources) -> float:
    if spec.num_gpus is None:
        return 1.0 if resources.gpus and spec.runtime != "openvino" else 0.0
    if spec.num_gpus and spec.runtime == "openvino":
        raise SpecError("--num-gpus: the openvino runtime runs on CPUs; use --runtime torch")
    if spec.num_gpus > resources.gpus:
        raise SpecError(
            f"--num-gpus {spec.num_gpus:g}: the cluster has {resources.gpus} GPUs in all"
        )
    return spec.num_gpus
