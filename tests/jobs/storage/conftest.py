from contextlib import ExitStack
from datetime import timedelta

import pytest

from tests.support.faulty_proxy import faulty_proxy


@pytest.fixture
def behind_proxy(s3_bucket, s3_environment, monkeypatch):
    """Put a faulty proxy before the server: call it with the fault."""
    with ExitStack() as stack:

        def start(fault):
            url = stack.enter_context(faulty_proxy(s3_environment.endpoint_url, fault))
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
            return url

        yield start


@pytest.fixture
def impatient(monkeypatch):
    """Give up within a second or two; clients that are made from now on."""
    monkeypatch.setattr("jobs.storage._PAUSE_S", 0)
    monkeypatch.setattr("model_repo.inception_v3.s3.connection.PATIENCE_S", 0.2)
    monkeypatch.setattr("model_repo.inception_v3.s3.connection._ATTEMPTS", 1)
    monkeypatch.setattr("jobs.storage.s3_reads._CONTROL_PATIENCE_S", 0.1)
    waits = {"init_backoff": timedelta(milliseconds=10), "max_backoff": timedelta(milliseconds=50)}
    retries = {"max_retries": 2, "backoff": {**waits, "base": 2}}
    monkeypatch.setattr("jobs.storage.clients._OBSTORE_RETRIES", retries)
