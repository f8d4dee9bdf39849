"""From what one image costs to how long a job takes, and with which settings: arithmetic alone."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jobs.job.job import Job
from jobs.planning.measure import BATCH_GAIN, Measurement

Stage = Literal["network", "decode", "model", "write"]

# Starting Ray and its workers, and the commit: on two cores, beside loading the model.
STARTUP_S = 10.0
# Where decoding has tasks of its own: for an image's pixels (299 x 299) on their way to an actor,
# and for Ray. From `make bench NAMES=feeding`.
_HAND_OVER_CPU_S = 0.0003
_SPARE = 1.1  # more actors than the bound needs on average, since no two images are the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """How fast a job will be.

    Attributes:
        measured: what this follows from.
        actors: the largest number that gains anything.
        rates: images/s of each stage, if it had the machine to itself.
        images_per_s, cpu_s_per_image: of the job, on all cores together.
        bound: the stage that costs most of what is scarcest.
    """

    measured: Measurement
    batch_size: int
    actors: int
    rates: dict[Stage, float]
    images_per_s: float
    cpu_s_per_image: float
    bound: Stage

    def seconds(self, objects: int) -> float:
        """Return how long a job of so many objects takes."""
        return STARTUP_S + self.measured.load_s + objects / self.images_per_s

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON, every number with four digits: no measurement has more."""
        text = json.dumps(asdict(self))
        return dict(json.loads(text, parse_float=lambda x: float(f"{float(x):.4g}")))


@dataclass(frozen=True, slots=True)
class _Costs:
    """Of one object of the input, broken ones included.

    Attributes:
        cores: stage → CPU seconds.
        cpu_s: CPU seconds of all stages, and between them.
        actor: stage → seconds of an actor.
        in_hand: chunks of an actor; while it computes one, the rows of others are written.
    """

    cores: dict[Stage, float]
    cpu_s: float
    actor: dict[Stage, float]
    in_hand: int

    @property
    def actor_s(self) -> float:
        """Return the seconds between two objects of one actor."""
        return max(self.actor["model"], sum(self.actor.values()) / self.in_hand)


def make_forecast(measured: Measurement, job: Job) -> Forecast:
    """Say how fast `job` will be on its resources, and choose what its spec leaves open.

    Everything overlaps, so a job is as fast as the slowest of the network, the cores with all that
    needs them, and the actors.
    """
    batch_size = job.spec.batch_size or _choose_batch_size(measured, job)
    costs = _costs(measured, batch_size, job)
    cpus = job.placement.resources.cpus
    network = measured.fetch_per_s * max(1.0, cpus / measured.cores)
    of_cores = cpus / costs.cpu_s
    actors = job.placement.actors[1]
    if job.spec.actors is None:
        actors = _choose_actors(costs, min(network, of_cores), job)
    of_model = costs.actor_s == costs.actor["model"]
    bounds: list[tuple[float, Stage]] = [
        (network, "network"),
        (of_cores, _largest(costs.cores)),
        (actors / costs.actor_s, "model" if of_model else _largest(costs.actor)),
    ]
    images_per_s, bound = min(bounds)
    return Forecast(
        measured=measured,
        batch_size=batch_size,
        actors=actors,
        rates={
            "network": network,
            "decode": cpus / costs.cores["decode"],
            "model": min(cpus / costs.cores["model"], actors / costs.actor["model"]),
            "write": min(
                cpus / costs.cores["write"], actors * costs.in_hand / costs.actor["write"]
            ),
        },
        images_per_s=images_per_s,
        cpu_s_per_image=costs.cpu_s,
        bound=bound,
    )


def _choose_batch_size(measured: Measurement, job: Job) -> int:
    """Return the smallest that is nearly the fastest."""
    costs = measured.forward_s if job.placement.num_gpus else measured.forward_cpu_s
    return min(size for size, cost in costs.items() if cost <= min(costs.values()) * BATCH_GAIN)


def _costs(measured: Measurement, batch_size: int, job: Job) -> _Costs:
    size = min(measured.forward_cpu_s, key=lambda x: abs(x - batch_size))
    good = max(1 - measured.error_share, 1e-3)
    forward_cpu_s = measured.forward_cpu_s[size] * good
    # On CPUs an actor has a core for itself; what it waits for when others have it is no cost.
    forward_s = measured.forward_s[size] * good if job.placement.num_gpus else forward_cpu_s
    write_s = max(measured.write_s, measured.write_cpu_s)
    cores: dict[Stage, float] = {
        "network": measured.fetch_cpu_s,
        "decode": measured.decode_cpu_s,
        "model": forward_cpu_s,
        "write": measured.write_cpu_s,
    }
    handing_over = _HAND_OVER_CPU_S if job.placement.separate_decode else 0.0
    return _Costs(
        cores=cores,
        cpu_s=sum(cores.values()) + handing_over,
        actor={"model": forward_s, "write": write_s},
        in_hand=job.placement.chunks_in_hand,
    )


def _choose_actors(costs: _Costs, images_per_s: float, job: Job) -> int:
    """Return how many actors `images_per_s` takes, on GPUs no more than fit.

    On CPUs it is one per core, unless they wait long for their rows to be written.
    """
    most, actor_s = job.placement.actors[1], costs.actor_s
    if not job.placement.num_gpus:
        # The actors fetch and decode as well, in threads beside.
        waiting_s = costs.actor["write"] - costs.cores["write"]
        actor_s = costs.cpu_s + waiting_s
        most = round(most * actor_s / costs.cpu_s)
    return max(1, min(math.ceil(images_per_s * actor_s * _SPARE), most))


def _largest(costs: dict[Stage, float]) -> Stage:
    return max(costs, key=costs.__getitem__)
