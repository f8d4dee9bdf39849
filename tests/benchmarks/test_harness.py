import ctypes
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.benchmarks.harness import Report, format_figure, interleave, measure_cpu, write_reports
from tests.benchmarks.processes import ProcessTree, adopt_orphans, kind_of

PR_SET_CHILD_SUBREAPER = 36
BURN = "import time\nwhile time.process_time() < {}: pass\n"
# A child that starts a grandchild and is gone before it has done anything.
ORPHANING = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', {!r}])"


@pytest.fixture
def _adopting():
    adopt_orphans()
    yield
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.mark.usefixtures("_adopting")
def test_tree_counts_a_grandchild_that_was_orphaned():
    tree = ProcessTree()
    before = tree.mark()

    subprocess.run([sys.executable, "-c", ORPHANING.format(BURN.format(0.6))], check=True)
    tree.mark()
    while tree.is_running(before):
        time.sleep(0.02)
        tree.mark()
    window = tree.since(before)
    orphans = tree.mark().cpu_s.keys() - before.cpu_s.keys()
    tree.reap(before, spare=0)
    assert orphans
    assert not any(Path(f"/proc/{key.pid}").exists() for key in orphans)

    assert window.cpu_s > 0.5  # the kernel counts in ticks
    assert window.wall_s >= 0.6


def test_tree_of_another_root_leaves_out_its_siblings():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as idle:
        tree = ProcessTree(idle.pid)
        before = tree.mark()
        subprocess.run([sys.executable, "-c", BURN.format(0.3)], check=True)
        window = tree.since(before)
        idle.communicate(b"\n")

    assert window.by_kind.keys() == {"other"}
    assert window.cpu_s < 0.2


def test_peaks_are_seen():
    hold = "held = b'x' * 100_000_000; print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        mark = ProcessTree(process.pid).mark()
        process.communicate(b"\n")

    assert 100e6 < mark.peak_bytes["other"] < 200e6


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("ray::MapWorker(MapBatches(ChunkLabeller))", "actor"),
        ("ray::ServeReplica:app:Model", "replica"),
        ("ray::ProxyActor", "proxy"),
        ("/x/haproxy -f /tmp/x.cfg", "proxy"),
        ("ray::IDLE", "worker"),
        ("ray::DashboardAgent", "agents"),
        ("/x/ray/core/src/ray/raylet/raylet --x=python /x/ray/dashboard/agent.py", "raylet"),
        ("/x/ray/core/src/ray/gcs/gcs_server --log_dir=/tmp", "gcs"),
        ("/x/bin/python -u /x/ray/dashboard/agent.py --node", "agents"),
        ("/x/bin/python -m jobs label in out", "driver"),
        ("/x/bin/weed server -dir=data", "storage"),
        ("sleep 5", "other"),
    ],
)
def test_kinds_of_processes(line, kind):
    assert kind_of(line + " ") == kind


def test_cases_take_turns_and_turn_round():
    order = []

    def case(name):
        return lambda: order.append(name) or {"calls": float(len(order))}

    runs = interleave({name: case(name) for name in "ABC"}, repeats=2, warmups=1)

    assert "".join(order) == "CBA" + "ABC" + "CBA"
    assert runs["A"] == [{"calls": 4.0}, {"calls": 9.0}]


def test_cpu_of_a_call():
    def burn(seconds):
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    figures = measure_cpu(burn, [0.02] * 3)

    assert 20 <= figures["cpu_ms"] < 40
    assert figures["wall_ms"] >= 20


def report(runs=(1.0, 4.0, 2.0)):
    made = Report(name="r", title="Speeds", columns={"speed": "images/s", "share": "of B"})
    made.add({"A": [{"speed": x} for x in runs], "B": [{"speed": 4.0} for _ in runs]})
    made.add_ratio("share", "A", "speed", over="B", over_figure="speed")
    return made


def test_report_gives_medians_and_ratios_by_round():
    made = report()

    assert made.median("A", "speed") == 2
    assert made.rows["A"]["share"] == [0.25, 1.0, 0.5]
    assert "| A | 2.00 (1.00 to 4.00) | 0.50 (0.25 to 1.00) |" in made.to_markdown()
    assert "| B | 4.00 |  |" in made.to_markdown()


def test_reports_in_one_file_replace_their_own_earlier_ones(tmp_path):
    path = tmp_path / "figures.json"
    other = Report(name="other", title="Others", columns={})

    write_reports(path, [report(), other])
    write_reports(path, [report((8.0,))])
    written = json.loads(path.read_text())

    assert list(written) == ["r", "other"]
    assert written["r"]["runs"]["A"]["speed"] == [8.0]
    assert written["r"]["medians"]["A"] == {"speed": 8.0, "share": statistics.median([2.0])}
    assert written["r"]["machine"]["cores"] >= 1


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1,234"), (103.9, "104"), (10.04, "10.0"), (2.345, "2.35")]
)
def test_figures_are_short(value, text):
    assert format_figure(value) == text
