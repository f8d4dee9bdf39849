"""The processes of one running service, and what memory they take."""

from pathlib import Path

from tests.support.service import RunningService

MEBIBYTE = 1024 * 1024


def replicas(service: RunningService) -> list[int]:
    """Return the process numbers of the replicas, whatever state they are in."""
    return _workers(service, "ray::ServeReplica")


def proxy(service: RunningService) -> int:
    """Return the process number of the HTTP and gRPC proxy."""
    (pid,) = _workers(service, "ray::ProxyActor")
    return pid


def controller(service: RunningService) -> int:
    """Return the process number of what starts and watches Serve's actors."""
    (pid,) = _workers(service, "ray::ServeController")
    return pid


def coordinators(service: RunningService) -> list[int]:
    """Return the process numbers of what the replicas share."""
    return _workers(service, "ray::Coordinator")


def of_session(ray_folder: Path) -> dict[int, str]:
    """Return the processes of the Ray that has its session in the folder: number → command."""
    found = {pid: text for pid in _all() if str(ray_folder) in (text := _command(pid))}
    return found | {pid: _command(pid) for pid in _all() if _parent(pid) in found}


def started_with(ray_folder: Path) -> list[int]:
    """Return the processes that found the folder in their environment, as RAY_TMPDIR."""
    wanted = f"RAY_TMPDIR={ray_folder}".encode()
    return [pid for pid in _all() if wanted in _environment(pid)]


def is_running(pid: int) -> bool:
    """Say whether the process is there and no zombie."""
    return _status(pid).get("State", "Z")[0] not in "ZX"


def memory_bytes(pid: int) -> int:
    """Return what the process takes now."""
    return _bytes(pid, "VmRSS")


def reset_peak(pid: int) -> None:
    """Let `peak_bytes` count from now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_bytes(pid: int) -> int:
    """Return the most that the process has taken since `reset_peak`."""
    return _bytes(pid, "VmHWM")


def unread_bytes(port: int) -> int:
    """Return how many bytes wait to be read by whoever listens on the port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        int(queues.partition(":")[2], 16)
        for _, local, _, _, queues, *_ in rows
        if int(local.partition(":")[2], 16) == port
    )


def _workers(service: RunningService, title: str) -> list[int]:
    session = of_session(service.ray_folder)
    return sorted(pid for pid, command in session.items() if command.startswith(title))


def _all() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _parent(pid: int) -> int:
    return int(_status(pid).get("PPid", 0))


def _bytes(pid: int, name: str) -> int:
    return int(_status(pid)[name].split()[0]) * 1024
