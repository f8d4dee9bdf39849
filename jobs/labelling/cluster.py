"""The Ray that a job runs on: one of its own on this machine, or the cluster it belongs to."""

import contextlib
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import ray

from jobs.errors import JobError, SpecError
from jobs.resources import Resources, count_cores

_ANSWER_TIMEOUT_S = 10
_OWN_RAY = {
    # Nobody restarts a Ray of our own; by default it waits 60 s.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    # By default it starts workers before the driver may go on, and waits for ever if one of them
    # dies while it starts.
    "RAY_prestart_worker_first_driver": "0",
    # Nobody needs the rest: no dashboard or Prometheus asks it, no cluster grows. On two cores its
    # processes would take 1 ms of CPU time from each image.
    "AUTOSCALER_UPDATE_INTERVAL_S": "60",
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",  # 0: not at all
    "RAY_event_stats": "0",
}
_QUIET_RAY = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Nobody reads logs, for which Ray would look ten times a second.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "LOG_NAME_UPDATE_INTERVAL_S": "3600",
}
_SUDDEN_END = (
    "labelmill: this process or its Ray was killed, perhaps because memory ran out; "
    "the same command continues"
)


@contextlib.contextmanager
def running_ray(*, verbose: bool) -> Iterator[Resources]:
    """Join the cluster that this process belongs to, or start Ray on this machine.

    Raises:
        SpecError: nobody answers at RAY_ADDRESS.
        JobError: Ray did not start.
    """
    _configure(verbose)
    # Ray puts the current folder on its workers' path, where a folder of the user's that is called
    # "jobs" would hide ours; so it is started from a folder that has none.
    quietly = contextlib.nullcontext() if verbose else _silenced_stderr()
    with _last_words():
        with _kept_sigterm(), contextlib.chdir(sys.prefix), quietly:
            _start(verbose)
        with _raylets_off_stdout(verbose):
            try:
                total = ray.cluster_resources()  # type: ignore[no-untyped-call]
                yield Resources(int(total.get("CPU", 1)), int(total.get("GPU", 0)))
            finally:
                with _kept_sigterm():
                    ray.shutdown()


def _check_reachable(address: str) -> None:
    """Say at once what Ray would only say after minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), _ANSWER_TIMEOUT_S).close()
    except OSError as exc:
        raise SpecError(
            f"no Ray cluster answers at RAY_ADDRESS {address!r} ({exc}); correct it, or unset it "
            "to run on this machine"
        ) from exc


def _start(verbose: bool) -> None:
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"address": address}
    if address:
        _check_reachable(address)
    else:
        # Not "auto": that would join whatever Ray happens to run on this machine. And Ray itself
        # does not ask how many cores this process was given.
        options = {"address": "local", "num_cpus": count_cores(), "include_dashboard": False}
    level = logging.INFO if verbose else logging.ERROR
    try:
        ray.init(log_to_driver=verbose, logging_level=level, **options)
    except SystemExit as exc:  # what Ray makes of a SIGTERM while it starts
        raise KeyboardInterrupt from exc
    except Exception as exc:  # some of what Ray raises here has no class of its own
        hint = "does the cluster want a token (RAY_AUTH_MODE=token)? " if address else ""
        raise JobError(f"Ray did not start: {exc}; {hint}-v shows what it wrote") from exc


@contextlib.contextmanager
def _last_words() -> Iterator[None]:
    """Say a sentence if this process is ended at once, as Ray does when its raylet dies."""
    with subprocess.Popen(
        ["/bin/sh", "-c", f"read -r _ || echo {shlex.quote(_SUDDEN_END)} >&2"],
        stdin=subprocess.PIPE,
        start_new_session=True,
    ) as watcher:
        try:
            yield
        finally:
            watcher.communicate(b"an end with its own words\n")


@contextlib.contextmanager
def _raylets_off_stdout(verbose: bool) -> Iterator[None]:
    """Keep what Ray prints about its nodes and workers off stdout, which is for results."""
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(sys.stderr if verbose else null):
        yield


@contextlib.contextmanager
def _kept_sigterm() -> Iterator[None]:
    """Undo what Ray makes of SIGTERM when it starts or ends: it would abort the process."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Keep what Ray's C++ side writes to file descriptor 2 off the terminal."""
    kept = os.dup(2)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _configure(verbose: bool) -> None:
    """Set what Ray reads from the environment when it starts."""
    # Workers at the driver's own niceness: beside anything else they would starve at nice 15.
    settings = {"RAY_worker_niceness": "0"}
    if "RAY_ADDRESS" not in os.environ:
        settings |= _OWN_RAY
    if not verbose:
        settings |= _QUIET_RAY
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    for name, value in settings.items():
        os.environ.setdefault(name, value)
