"""What we use of Ray that it does not promise, and what a release must not take away unnoticed."""

# ruff: noqa: PLC0415 - what is imported in a canary fails in that one alone

import asyncio
import inspect
import re
from contextvars import ContextVar
from importlib.util import find_spec

import pytest

from tests.private_apis.test_table import TABLE
from tests.support.packages import holds, package

# Read by Ray's C++ side, as RAY_<name>, and by its Python modules.
CORE_VARIABLES = re.findall(r"`RAY_([a-z]\w+|BACKEND_LOG_LEVEL)`", TABLE)
PYTHON_VARIABLES = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "autoscaler/_private/constants.py",
    "LOG_NAME_UPDATE_INTERVAL_S": "_private/log_monitor.py",
    "METRICS_RECORD_INTERVAL_S": "dashboard/consts.py",
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "_private/log_monitor.py",
    "REPORTER_UPDATE_INTERVAL_MS": "dashboard/modules/reporter/reporter_consts.py",
} | dict.fromkeys(re.findall(r"`(RAY_SERVE_\w+)`", TABLE), "serve/_private/constants.py")


@pytest.mark.parametrize("name", CORE_VARIABLES)
def test_ray_core_variables(name):
    assert holds(package("ray") / "_raylet.so", f"RAY_{name}".encode())


@pytest.mark.parametrize("name", PYTHON_VARIABLES)
def test_ray_python_variables(name):
    assert f'"{name}"' in (package("ray") / PYTHON_VARIABLES[name]).read_text()


def test_ray_data_source():
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    metadata = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)

    assert list(ReadTask(lambda: iter([1, 2]), metadata)()) == [1, 2]
    assert {"estimate_inmemory_data_size", "get_read_tasks"} <= vars(Datasource).keys()


def test_ray_data_cuts_blocks():
    import pyarrow as pa
    from ray.data import DataContext
    from ray.data._internal.output_buffer import BlockOutputBuffer, OutputBlockSizeOption

    fields = DataContext.__dataclass_fields__.keys()
    buffer = BlockOutputBuffer(OutputBlockSizeOption.of(target_max_block_size=1))
    for chunk in ("first", "second"):
        buffer.add_block(pa.table({"id": [chunk]}))
        assert buffer.has_next()  # at once, not when there are more
        assert buffer.next().num_rows == 1
    assert {"target_max_block_size", "op_resource_reservation_enabled"} <= fields


def test_ray_restarted_actor():
    from ray.runtime_context import RuntimeContext

    assert isinstance(RuntimeContext.was_current_actor_reconstructed, property)


def test_ray_process_names():
    from ray.serve._private.common import DeploymentID
    from ray.serve._private.controller import ServeController
    from ray.serve._private.proxy import ProxyActor

    assert DeploymentID("labelmill").to_replica_actor_class_name().startswith("ServeReplica:")
    assert ServeController.__name__ == "ServeController"
    assert type(ProxyActor).__name__ == "ActorClass(ProxyActor)"
    assert (package("ray") / "_private" / "workers" / "default_worker.py").exists()
    assert find_spec("ray.scripts.scripts")


def test_serve_builds_the_application_late():
    from ray import serve
    from ray.serve._private.replica import SERVE_BUILD_ASGI_APP_METHOD

    class Late:
        def __serve_build_asgi_app__(self) -> None: ...

    assert SERVE_BUILD_ASGI_APP_METHOD == "__serve_build_asgi_app__"
    assert serve.ingress()(Late)


def test_serve_run_calls_the_builder_before_ray_runs():
    from ray.serve.scripts import run

    _, _, source = inspect.getsource(run.callback).partition("\ndef run(")
    names = {parameter.name for parameter in run.params}
    assert {"address", "runtime_env", "runtime_env_json", "working_dir"} <= names
    assert source.index("call_user_app_builder_with_args") < source.index("ray.init(")
    assert "if not ray.is_initialized()" in source


def test_serve_deployment_actors():
    from ray import serve
    from ray.serve.config import DeploymentActorConfig

    DeploymentActorConfig(name="x", actor_class="a:B", init_kwargs={}, actor_options={})
    assert list(inspect.signature(serve.get_deployment_actor).parameters) == ["actor_name"]


def test_serve_puts_the_callback_around_its_proxy(monkeypatch):
    from ray.serve._private import http_util
    from ray.serve.config import HTTPOptions

    path = "serving.http.proxy:build_middlewares"
    monkeypatch.setattr(http_util, "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", path)

    assert len(http_util.configure_http_middlewares(HTTPOptions()).middlewares) == 1


def test_serve_answers_in_plain_text():
    from ray.serve._private.constants import SERVE_HTTP_REQUEST_TIMEOUT_S_HEADER
    from ray.serve._private.http_util import (
        convert_object_to_asgi_messages,
        get_http_response_status,
    )
    from ray.serve.exceptions import DeploymentUnavailableError

    def status(exc: Exception) -> int:
        return get_http_response_status(exc, None, "1").code

    (start, _) = convert_object_to_asgi_messages("no answer", status_code=503)
    assert dict(start["headers"])[b"content-type"].startswith(b"text/plain")
    assert status(TimeoutError()) == 408
    assert status(DeploymentUnavailableError("x")) == 503
    assert SERVE_HTTP_REQUEST_TIMEOUT_S_HEADER == "x-request-timeout-seconds"


def test_serve_forwards_grpc_bytes():
    from ray.serve._private.grpc_util import gRPCGenericServer

    from serving.grpc.servicer import METHODS, add_inference_service

    async def handlers() -> dict:
        server = gRPCGenericServer(lambda **_: "forwarded")
        add_inference_service(None, server)
        return server.generic_rpc_handlers[0][0]._method_handlers

    found = asyncio.run(handlers())
    assert len(found) == len(METHODS) == 20
    (infer,) = (found[path] for path in found if path.endswith("/ModelInfer"))
    assert (infer.unary_unary, infer.request_deserializer) == ("forwarded", None)


def test_serve_batches_by_signature_and_context():
    from ray._common.signature import extract_signature
    from ray.serve import batch
    from ray.serve.context import _serve_request_context

    async def enqueue(items: list[int]) -> list[int]:
        return items

    enqueue.__signature__ = kept = inspect.signature(enqueue)
    assert extract_signature(enqueue) == list(kept.parameters.values())
    wrapped = batch(max_batch_size=2)(enqueue)
    assert callable(wrapped.set_max_batch_size)
    assert callable(wrapped.set_batch_wait_timeout_s)
    assert isinstance(_serve_request_context, ContextVar)
