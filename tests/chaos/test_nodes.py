"""A job on a cluster whose parts die: a whole node, and the worker that lists."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from jobs.demo.seaweedfs import free_ports
from tests.chaos.harness import (
    Job,
    LocalPlace,
    Process,
    Reference,
    S3Place,
    all_processes,
    check_dataset,
    check_ending,
    has_chunk,
)
from tests.chaos.mitm import faulty_storage

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

AUTHENTICATION = {"RAY_AUTH_MODE": "disabled"}
STORE_BYTES = 100 * 1024 * 1024
SLOW_LISTING = {"fault": "slow", "url": "list-type=.*photos", "seconds": 8}


@contextmanager
def running_cluster(environment: dict[str, str]) -> Iterator[Cluster]:
    """A head and one more node, of one CPU each; jobs join it through RAY_ADDRESS."""
    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment, "RAY_worker_niceness": "0", **AUTHENTICATION}.items():
            patch.setenv(name, value)
        (port,) = free_ports(1)  # of a dashboard that is not there; the usual one may be taken
        head = {**node, "include_dashboard": False, "dashboard_port": port}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            cluster.add_node(**node)
            cluster.wait_for_nodes()
            yield cluster
        finally:
            cluster.shutdown()


def test_a_node_that_dies_costs_no_row(
    environment, start: Callable[..., Job], photos: Path, reference: Reference, tmp_path: Path
):
    place = LocalPlace(tmp_path / "out")

    with running_cluster(environment) as cluster:
        (node,) = cluster.worker_nodes
        job = start(photos, place.uri, RAY_ADDRESS=cluster.address, **AUTHENTICATION)
        assert job.wait_for(lambda: has_chunk(place))
        cluster.remove_node(node, allow_graceful=False)
        code = job.wait()

    check_ending(job, code, (3,))
    check_dataset(place, tmp_path / "copy", reference)


def test_the_death_of_the_worker_that_lists_costs_no_row(
    start: Callable[..., Job], s3: tuple[dict[str, str], Any], environment, reference, tmp_path
):
    server, client = s3
    place = S3Place(client, "nodes", "out")

    with running_cluster(environment | server) as cluster:
        join = {"RAY_ADDRESS": cluster.address, **AUTHENTICATION}
        job = start("s3://nodes/photos/", place.uri, **server, **join)
        assert job.wait_for(lambda: listing_workers(cluster))
        for worker in listing_workers(cluster):
            assert job.kill(worker)
        code = job.wait()

    check_ending(job, code, (3,))
    check_dataset(place, tmp_path / "copy", reference)


@pytest.fixture
def s3(seaweedfs, images: dict[str, bytes], tmp_path: Path) -> Iterator[tuple[dict[str, str], Any]]:
    """The environment of a server that lists slowly, with the images; and a client."""
    client = seaweedfs.client()
    client.create_bucket(Bucket="nodes")
    for name, body in images.items():
        client.put_object(Bucket="nodes", Key=f"photos/{name}", Body=body)
    with faulty_storage(seaweedfs.endpoint_url, tmp_path, SLOW_LISTING) as url:
        yield {**seaweedfs.environment(), "AWS_ENDPOINT_URL": url}, client
    client.close()


def listing_workers(cluster: Cluster) -> list[Process]:
    """Return the processes of the cluster that are listing; Ray puts it beside the driver."""
    raylets = {
        raylet.process.pid
        for node in cluster.list_all_nodes()
        for raylet in node.all_processes["raylet"]
    }
    return [
        process
        for process in all_processes()
        if process.parent in raylets and process.title.startswith("ray::ReadChunkSource")
    ]
