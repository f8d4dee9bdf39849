"""Environments of their own for the programs that we are compared with."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from model_repo.inception_v3.cache import cache_folder


def make_environment(name: str, packages: Sequence[str]) -> Path | None:
    """Return the Python of an environment with these packages, made unless it exists.

    Returns:
        None where it cannot be made; why is on stderr.
    """
    folder = cache_folder("benchmarks") / name
    python, wanted = folder / "bin" / "python", folder / "packages"
    if wanted.exists() and wanted.read_text().split() == list(packages):
        return python
    beside = Path(sys.executable).parent / "uv"
    uv = shutil.which(beside) or shutil.which("uv")
    if uv is None:
        print(f"no uv to make an environment for {name}", file=sys.stderr)
        return None
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *packages],
    ):
        if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
            return None
    wanted.write_text("\n".join(packages))
    return python
