"""Kill a random process of a job at a random moment, run it again, and check every row.

    make chaos ROUNDS=50 SEED=7

The seed decides what is tried; which processes there are at a moment is the machine's affair.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_repo.inception_v3 import Classifier, find_weights, load_model, postprocess, preprocess
from tests.chaos.harness import (
    SCORE_TOLERANCE,
    Job,
    LocalPlace,
    Place,
    Process,
    Reference,
    S3Place,
    agrees,
    check_dataset,
    check_ending,
    has_chunk,
    read_rows,
)
from tests.chaos.images import write_photos
from tests.chaos.kills import Kill, Round, plan_rounds
from tests.support.faulty_proxy import faulty_proxy
from tests.support.images import encode, photo

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

ROUNDS = int(os.environ["CHAOS_ROUNDS"])  # conftest.py has chosen them if nobody else did
SEED = int(os.environ["CHAOS_SEED"])
FAULT_RATE = 0.1
CLEAN_TRIES = 3
DONE = (0, 3)
PYTHON_S_OWN = (1, -signal.SIGTERM, -signal.SIGINT)  # before it begins, and when Ray ends

Start = Callable[..., Job]
Struck = list[tuple[Process, signal.Signals]]


@dataclass(frozen=True)
class Site:
    """Where a round reads and writes, and the environment of its jobs."""

    source: str
    place: Place
    environment: dict[str, str]


@pytest.fixture(scope="module")
def unreliable_s3(seaweedfs, images: dict[str, bytes]) -> Iterator[tuple[dict[str, str], Any]]:
    """The environment of a server that refuses some requests, and a client that it serves well."""
    client = seaweedfs.client()
    client.create_bucket(Bucket="chaos")
    for name, body in images.items():
        client.put_object(Bucket="chaos", Key=f"photos/{name}", Body=body)
    chance = random.Random(SEED)
    with faulty_proxy(
        seaweedfs.endpoint_url, lambda *_: "503" if chance.random() < FAULT_RATE else None
    ) as url:
        yield {**seaweedfs.environment(), "AWS_ENDPOINT_URL": url}, client
    client.close()


@pytest.fixture
def site(chaos: Round, photos: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    """A local folder or a prefix on S3, in turns."""
    if not chaos.on_s3:
        return Site(str(photos), LocalPlace(tmp_path / "out"), {})
    environment, client = request.getfixturevalue("unreliable_s3")
    place = S3Place(client, "chaos", f"out-{chaos.number}")
    return Site("s3://chaos/photos/", place, environment)


@pytest.mark.long
@pytest.mark.s3
@pytest.mark.parametrize(
    "chaos", [pytest.param(it, id=f"seed{SEED}-{it.number}") for it in plan_rounds(SEED, ROUNDS)]
)
def test_every_row_is_there_once_whatever_is_killed(
    chaos: Round, site: Site, start: Start, reference: Reference, tmp_path: Path
):
    print(f"\nseed {SEED}, round {chaos.number}: {site.source} to {site.place.uri}")

    def run() -> Job:
        return start(site.source, site.place.uri, **site.environment)

    done = False
    for kills in chaos.runs:
        if not done:
            job = run()
            done = end(
                job, [hit for kill in kills if (hit := strike(job, kill, site.place))], site.place
            )
    for _ in range(CLEAN_TRIES):
        done = done or end(run(), [], site.place)
    assert done, f"not done after {CLEAN_TRIES} runs that nobody disturbed"
    check_dataset(site.place, tmp_path / "copy", reference)


def strike(job: Job, kill: Kill, place: Place) -> tuple[Process, signal.Signals] | None:
    """Wait for the moment and kill; None if the job ended before."""
    begun = {
        "start-up": lambda: True,
        "listing": lambda: "starting workers" in job.said,
        "labelling": lambda: has_chunk(place),
        "commit": lambda: "writing the dataset" in job.said,
    }
    if not job.running:
        return None
    reached = job.wait_for(begun[kill.phase])
    moment = time.monotonic() + kill.delay_s
    if not reached or not job.wait_for(lambda: time.monotonic() >= moment):
        print(f"  {job.age_s:5.1f} s: ended before {kill.phase} + {kill.delay_s} s")
        return None
    family = job.processes()
    fitting = [process for process in family if process.role == kill.victim] or family
    victim = fitting[int(kill.pick * len(fitting))]
    number = kill.signal if victim.role == "driver" else signal.SIGKILL
    hit = job.kill(victim, number)
    print(f"  {job.age_s:5.1f} s: {kill.phase} + {kill.delay_s} s, {number.name} to {victim.role}")
    print(f"           {victim.pid} {victim.title[:70]!r}{'' if hit else ', which had ended'}")
    return (victim, number) if hit else None


def end(job: Job, struck: Struck, place: Place) -> bool:
    """Wait for a run's end and check it; say whether the job is done."""
    code = job.wait()
    print(f"  {job.age_s:5.1f} s: exit code {code}")
    check_ending(job, code, allowed_codes(job, struck, place))
    return code in DONE


def allowed_codes(job: Job, struck: Struck, place: Place) -> tuple[int, ...]:
    """Return how a run may end: the death of a worker is no reason not to finish."""
    allowed = set(DONE)
    for process, number in struck:
        if process.role == "driver" and number == signal.SIGKILL:
            allowed.add(-signal.SIGKILL)
        elif process.role == "driver":
            is_running = "checking" in job.said and "_SUCCESS" not in place.names()
            allowed |= {130} if is_running else {130, *PYTHON_S_OWN}
        elif process.role in ("raylet", "gcs_server", "bystander"):  # a raylet ends with its agents
            allowed.add(1)
    return tuple(allowed)


def test_the_reference_is_what_the_classifier_says(reference: Reference, images: dict[str, bytes]):
    model = load_model()
    classifier = Classifier.load(model, find_weights(model, "untrained"))
    names = ["000.jpg", "077.jpg", "145.jpg"]

    pixels = np.stack([preprocess(images[name]).pixels for name in names])
    told = postprocess(classifier.predict(pixels).logits, classifier.spec.labels, top_k=5)

    for name, prediction in zip(names, told, strict=True):
        expected = [label.score for label in prediction.labels]
        scores = [label["score"] for label in reference[name]["labels"]]
        assert scores == pytest.approx(expected, abs=SCORE_TOLERANCE)
        assert reference[name]["label"] == prediction.labels[0].label
    assert len({row["score"] for row in reference.values()}) > 100  # else anything would agree


def test_a_finished_job_labels_what_is_new_or_changed(
    images: dict[str, bytes],
    start: Start,
    shared_ray: dict[str, str],
    reference: Reference,
    tmp_path: Path,
):
    folder = write_photos(images, tmp_path / "input")
    place = LocalPlace(tmp_path / "out")
    assert end(start(folder, place.uri, **shared_ray), [], place)
    (folder / "000.jpg").write_bytes(images["001.jpg"])
    (folder / "new.jpg").write_bytes(encode(photo(400, 300, seed=999), "JPEG"))

    assert end(start(folder, place.uri, **shared_ray), [], place)

    rows = read_rows(place.root)
    assert rows.keys() == {*reference, "new.jpg"}
    assert agrees(rows["000.jpg"], reference["001.jpg"])
    assert rows["new.jpg"]["width"] == 400
    untouched = reference.keys() - {"000.jpg"}
    assert all(agrees(rows[name], reference[name]) for name in untouched)
