"""The gate as it is shipped: the package with its per-request path compiled, built once for each state of the sources.

Run as `python -m bench.compiled`, it prints the folder to put into PYTHONPATH.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.machine import ROOT, BenchError, progress
from bench.tools import CACHE

_PARTS = ("src", "pyproject.toml", "README.md", "LICENSE")
_HOOK = "HATCH_BUILD_HOOK_ENABLE_MYPYC"  # docs/decisions/0013


def compiled() -> Path:
    """The folder that holds the compiled package. Raises BenchError where it cannot be built: a C compiler is needed."""
    folder = CACHE / f"compiled-{_digest()}"
    if folder.exists():
        return folder
    if shutil.which(os.environ.get("CC", "cc")) is None:
        raise BenchError("a C compiler is needed to build the gate as it is shipped (apt-get install gcc)")
    progress("compiling the per-request path; about a minute")
    for stale in CACHE.glob("compiled-*"):
        shutil.rmtree(stale)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as place:
        # In a copy: the compiler leaves its modules beside the sources, where they would be imported in the place of edited files.
        for part in _PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, f"{place}/{part}")
        _pip("wheel", "--no-deps", "--no-build-isolation", "-q", "-w", place, place, **{_HOOK: "true"})
        wheel = next(Path(place).glob("*.whl"))
        _pip("install", "--no-deps", "-q", "--target", f"{place}/package", str(wheel))
        Path(place, "package").rename(folder)
    return folder


def _digest() -> str:
    """Of all that the package is made from."""
    sources = sorted((ROOT / "src").rglob("*.py"))
    found = hashlib.sha256((ROOT / "pyproject.toml").read_bytes())
    for source in sources:
        found.update(str(source.relative_to(ROOT)).encode() + b"\0" + source.read_bytes())
    return f"{sys.implementation.cache_tag}-{found.hexdigest()[:12]}"


def _pip(*arguments: str, **environ: str) -> None:
    argv = (sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments)
    ran = subprocess.run(argv, env={**os.environ, **environ}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if ran.returncode:
        raise BenchError(f"{' '.join(argv)} failed:\n{ran.stdout[-3000:]}")


if __name__ == "__main__":
    try:
        print(compiled())
    except BenchError as error:
        sys.exit(str(error))
