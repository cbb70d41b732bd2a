"""The papers' commands, run as they stand: every `sh` block of a page, in order, in one shell, against the demo's set-up.

A comment `→ 451` is the status that the next answer has; each line of a `text` block after it is a line that was printed, with
`…` for what differs from time to time. Blocks marked `console` are for elsewhere (installing, Kubernetes) and are not run. A page
leaves things as it found them.
"""

import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from frontiergate.config.load import parse_config
from tests.fixtures.gate import free_port

ROOT = Path(__file__).parents[3]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
MARK = "=== block"


def blocks(page: Path) -> list[tuple[str, str]]:
    """The fenced blocks of a page: language and text, without the indentation of a list."""
    found = BLOCK.findall(page.read_text("utf-8"))
    return [(language, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)) for indent, language, text in found]


WITH_COMMANDS = [page for page in PAGES if any(language == "sh" for language, _ in blocks(page))]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A running demo's folder."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: the papers' commands cannot be run")
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "demo"
        ports = [f"--data-port={free_port()}", f"--control-port={free_port()}"]
        command = [sys.executable, "-u", "-m", "deploy.demo.run", *ports, f"--folder={folder}"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            assert any(line.startswith("kill -HUP") for line in iter(running.stdout.readline, "")), running.communicate()[1]
            yield folder
            running.send_signal(signal.SIGTERM)
            running.communicate(timeout=60)


@pytest.mark.xdist_group("papers")
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.name)
def test_the_commands_of_a_page_do_what_it_says(page: Path, folder: Path) -> None:
    found = blocks(page)
    scripts = [text for language, text in found if language == "sh"]
    script = "".join(f"{text}\necho; echo '{MARK}'\n" for text in scripts).replace(".demo", str(folder))
    script = f". {shlex.quote(str(folder / 'env'))}\n{script}"
    done = subprocess.run(["bash", "-uc", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    printed = [text.replace(str(folder), ".demo") for text in done.stdout.split(MARK)]
    assert len(printed) == len(scripts) + 1, done.stderr
    assert not re.search("^(bash|frontiergate): ", done.stderr, re.MULTILINE), done.stderr
    number = -1
    for language, text in found:
        if language == "sh":
            number += 1
            assert re.findall(r"HTTP/1\.1 (\d{3}) ", printed[number]) == re.findall(r"→ (\d{3})$", text, re.MULTILINE), (
                text,
                printed[number],
                done.stderr,
            )
        elif language == "text" and number >= 0:
            for line in text.splitlines():
                pattern = ".*".join(re.escape(" ".join(part.split())) for part in line.split("…"))
                lines = [" ".join(shown.split()) for shown in printed[number].splitlines()]
                assert any(re.search(pattern, shown) for shown in lines), (line, printed[number], done.stderr)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_the_papers_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_the_minimal_configuration_can_be_read() -> None:
    texts = [text for language, text in blocks(ROOT / "README.md") if language == "yaml"]
    assert [len(parse_config(text, "README.md").directives) for text in texts] == [1]
