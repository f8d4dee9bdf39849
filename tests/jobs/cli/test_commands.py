"""What the command says and how it exits, where no Ray is needed."""

import json
import os
import signal
import subprocess
import sys

import pytest

from jobs.__main__ import main
from jobs.errors import FetchError


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments: str):
        monkeypatch.setattr(sys, "argv", ["labelmill", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return caught.value.code or 0, printed.out, printed.err

    return run


def test_help_lists_the_commands_without_loading_torch_or_ray(run):
    code, out, _ = run("--help")

    assert code == 0
    assert "label " in out
    assert "demo " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("label",), "INPUT is missing"),
        (("label", "in"), "OUTPUT is missing"),
        (("label", "in", "out", "--top-k", "x"), "Invalid value for '--top-k'"),
        (("label", "in", "out", "--nope"), "No such option"),
        (("label", "/nowhere", "out"), "input '/nowhere' does not exist"),
        (("label", "gs://b/x", "out"), "unsupported scheme 'gs://'"),
        (("plan",), "INPUT is missing; labelmill plan INPUT [OUTPUT]"),
        (("plan", "/nowhere"), "input '/nowhere' does not exist"),
        (("plan", "in", "--price-per-hour", "0"), "Invalid value for '--price-per-hour'"),
        (("labl",), "No such command 'labl'"),
    ],
)
def test_wrong_use_exits_with_2_and_one_sentence(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)

    code, out, err = run(*arguments)

    assert code == 2
    assert message in err.splitlines()[-1].replace("file://", "")
    assert out == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_of_the_first_moment_is_a_sentence_too(tmp_path, number):
    interrupting = f"import os, signal, time; os.kill(os.getpid(), {number:d}); time.sleep(9)"
    (tmp_path / "click.py").write_text(interrupting)  # what the command imports first

    ended = subprocess.run(
        [sys.executable, "-m", "jobs", "label", "in", "out", "--json"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == json.loads(ended.stdout)["exit_code"] == 130
    assert ended.stderr == "labelmill: interrupted; the same command continues\n"


def test_json_holds_the_error_too(run, tmp_path):
    code, out, err = run("label", str(tmp_path / "gone"), str(tmp_path / "out"), "--json")

    assert json.loads(out)["exit_code"] == code == 2
    assert json.loads(out)["error"] in err


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FetchError("storage", "it broke"), (1, "it broke")),
        (OSError(28, "No space left on device"), (1, "No space left on device")),
        (KeyboardInterrupt(), (130, "interrupted; the same command continues")),
    ],
)
def test_what_ends_a_job_is_one_line_and_an_exit_code(run, monkeypatch, error, expected):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("jobs.run.label", fail)
    code, _, err = run("label", "in", "out")

    assert code == expected[0]
    assert expected[1] in err
    assert "Traceback" not in err
