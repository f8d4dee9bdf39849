"""What we use of packages other than Ray that they do not promise."""

# ruff: noqa: PLC0415 - what is imported in a canary fails in that one alone

import asyncio
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.resources import files

import boto3
import numpy as np
import pytest
from PIL import Image
from pydantic import BaseModel, ValidationError, field_validator

from tests.support.packages import holds, package


def test_boto3_internals():
    from botocore.httpchecksum import StreamingChecksumBody
    from botocore.parsers import ResponseParserError
    from botocore.session import get_session
    from botocore.utils import get_environ_proxies

    defaults = get_session().get_component("response_parser_factory").set_parser_defaults
    defaults(timestamp_parser=str)
    assert "read" in vars(StreamingChecksumBody)
    assert issubclass(ResponseParserError, Exception)
    assert get_environ_proxies("http://127.0.0.1") is not None


def test_boto3_before_call():
    seen = {}

    def answer(params, **_):
        seen.update(params)
        return (type("Answer", (), {"status_code": 200}), {})

    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    client = boto3.session.Session().client("s3", endpoint_url="http://127.0.0.1:9", **keys)
    client.meta.events.register("before-call.s3.DeleteObjects", answer)
    client.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "key"}]})

    assert b"<Key>key</Key>" in seen["body"]
    assert seen["headers"] is not None


def test_boto3_session_variables():
    from botocore.session import Session

    session = Session(session_vars={"profile": (None, None, None, None)})

    assert session.get_config_variable("profile") is None


class Refusing(BaseHTTPRequestHandler):
    """An S3 server that says no."""

    def do_GET(self):
        body = b"<Error><Code>SlowDown</Code></Error>"
        self.send_response(403)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_): ...


def test_obstore_errors_tell_status_and_code():
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        place = {"endpoint": f"http://127.0.0.1:{server.server_port}", "region": "us-east-1"}
        store = S3Store(
            "bucket",
            skip_signature=True,
            client_options={"allow_http": True, "proxy_excludes": "127.0.0.1"},
            **place,
        )
        with pytest.raises(BaseError) as caught:
            store.get("key")

    assert "status code: 403" in str(caught.value)
    assert "<Code>SlowDown</Code>" in str(caught.value)


def test_tarfile_keeps_members_in_a_list():
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name in ("a", "b"):
            archive.addfile(tarfile.TarInfo(name))
    written.seek(0)
    with tarfile.open(fileobj=written, mode="r:") as archive:
        for _ in range(2):
            assert archive.next()
            assert len(vars(archive)["members"]) == 1
            vars(archive)["members"].clear()
        assert archive.next() is None
        assert archive.offset == 2 * tarfile.BLOCKSIZE


def test_tarfile_has_the_map_of_a_sparse_member():
    written = io.BytesIO()
    sparse, plain = tarfile.TarInfo("a"), tarfile.TarInfo("b")
    sparse.pax_headers = {"GNU.sparse.map": "0,1,5,2", "GNU.sparse.realsize": "9"}
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(sparse)
        archive.addfile(plain)
    written.seek(0)
    with tarfile.open(fileobj=written, mode="r:") as archive:
        members = archive.getmembers()
    assert [member.sparse for member in members] == [[(0, 1), (5, 2)], None]


def test_pillow_webp_lets_go_of_its_decoder():
    from PIL.WebPImagePlugin import WebPImageFile

    encoded, calls = io.BytesIO(), []
    pixels = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    Image.fromarray(pixels).save(encoded, "WEBP", lossless=True)
    with Image.open(encoded) as image:

        def prepare():
            calls.append(image._decoder)
            image._decoder = None
            WebPImageFile.load_prepare(image)

        image.load_prepare = prepare
        assert np.array_equal(np.asarray(image), pixels)
    assert len(calls) == 1
    assert calls[0] is not None


def test_pillow_raw_mode_of_inverted_inks():
    inks = np.full((1, 1, 4), 200, np.uint8)

    image = Image.frombuffer("CMYK", (1, 1), inks, "raw", "CMYK;I", 0, 1)

    assert image.getpixel((0, 0)) == (55,) * 4


def test_pillow_settings_of_modules():
    from PIL import AvifImagePlugin, TiffImagePlugin

    assert isinstance(TiffImagePlugin.READ_LIBTIFF, bool)
    assert isinstance(AvifImagePlugin.DEFAULT_MAX_THREADS, int)


def test_torchvision_blocks():
    import torch
    from torchvision.models import inception_v3
    from torchvision.models.inception import BasicConv2d

    with torch.device("meta"):
        network = inception_v3(weights=None, aux_logits=False, init_weights=False)
    names = [name for name, _ in network.named_children()]

    assert names[-5:] == ["Mixed_7b", "Mixed_7c", "avgpool", "dropout", "fc"]
    assert isinstance(network.Conv2d_1a_3x3, BasicConv2d)
    assert {"conv", "bn"} <= dict(network.Conv2d_1a_3x3.named_children()).keys()


def test_torch_words_for_a_full_gpu():
    library = package("torch") / "lib" / "libc10_cuda.so"
    if not library.exists():
        pytest.skip("torch's build for CPUs")

    assert holds(library, b"out of memory")


def test_starlette_form_parser():
    from starlette.datastructures import Headers
    from starlette.formparsers import MultiPartException, MultiPartParser

    async def parse(body: bytes):
        async def stream():
            yield body

        headers = Headers({"content-type": "multipart/form-data; boundary=x"})
        limits = {"max_files": 1, "max_fields": 1, "max_part_size": 9}
        form = await MultiPartParser(headers, stream(), **limits).parse()
        await form.close()
        return form

    part = b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\nc\r\n'
    assert asyncio.run(parse(part + b"--x--\r\n")).multi_items()[0][1].filename == "b"
    with pytest.raises(MultiPartException) as caught:
        asyncio.run(parse(part + part + b"--x--\r\n"))
    assert "files" in caught.value.message


def test_fastapi_offline_brings_swagger_ui():
    static = files("fastapi_offline") / "static"

    assert (static / "swagger-ui-bundle.js").is_file()
    assert (static / "swagger-ui.css").is_file()


def test_pydantic_words():
    class Model(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def _refuse(cls, _: int) -> int:
            raise ValueError("never")

    with pytest.raises(ValidationError) as caught:
        Model(x=1)

    assert caught.value.errors()[0]["msg"] == "Value error, never"


def test_tritonclient_messages():
    from tritonclient.grpc import model_config_pb2, service_pb2

    service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert len(service.methods) == 20
    assert model_config_pb2.ModelConfig(name="x").name == "x"


def test_seaweedfs_sockets():
    from jobs.demo.seaweedfs import find_weed

    for role in ("master", "volume", "filer", "s3"):
        assert holds(find_weed(), f"/tmp/seaweedfs-{role}-grpc-%d.sock".encode())
