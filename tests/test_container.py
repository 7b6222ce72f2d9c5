"""The Containerfile: what it copies exists, what it runs is safe, and its wheel is whole."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


def instructions():
    """Return each instruction with what follows it, without comments; its lines are joined."""
    lines = (ROOT / "Containerfile").read_text("utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", text)
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def stages():
    """Return the instructions of each stage."""
    found = []
    for name, rest in instructions():
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, rest))
    return found


def last(name):
    """Return what follows the only instruction of this name in the stage that is run."""
    [rest] = [rest for found, rest in stages()[-1] if found == name]
    return rest


def copied():
    """Return what is copied from the folder of the project."""
    found = [rest.split() for name, rest in instructions() if name == "COPY"]
    return [source for words in found if not words[0].startswith("--") for source in words[:-1]]


def test_what_is_copied_exists_and_is_not_ignored():
    ignored = (ROOT / ".containerignore").read_text("utf-8").split("\n")
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    kept = {line[1:] for line in rules if line.startswith("!")}
    assert kept == set(copied())
    assert all((ROOT / source).exists() for source in copied())


def test_every_stage_that_is_copied_from_is_there():
    names = {
        words[-1] for name, words in ((n, r.split()) for n, r in instructions()) if name == "FROM"
    }
    sources = re.findall(r"--from=(\S+)", "\n".join(rest for _, rest in instructions()))
    assert len(sources) == 2
    assert set(sources) < names


def test_it_runs_as_somebody_who_is_not_root_and_whose_number_is_known():
    user, group = last("USER").split(":")
    assert int(user) == int(group) >= 10_000
    made = next(rest for name, rest in stages()[-1] if name == "RUN")
    assert json.loads(made)[:3] == ["useradd", "--uid", user]
    names = [name for name, _ in stages()[-1]]
    assert names.index("USER") > max(n for n, name in enumerate(names) if name in ("RUN", "COPY"))


def test_no_shell_stands_between_a_signal_and_the_server():
    assert json.loads(last("ENTRYPOINT")) == ["diascope", "serve"]
    assert last("STOPSIGNAL") == "SIGTERM"
    words = json.loads(last("CMD"))
    assert words[0] == "/bundle"
    assert dict(zip(words[1::2], words[2::2], strict=True)) == {
        "--host": "0.0.0.0",  # noqa: S104 - inside a container
        "--port": last("EXPOSE"),
        "--token-file": "/run/secrets/token",
    }


def test_no_secret_and_no_development_package_is_in_the_image():
    text = "\n".join(rest for _, rest in instructions())
    assert "[serve]" in text
    assert "dev]" not in text
    assert not re.search(r"TOKEN\s*=|PASSWORD|apt-get|ADD ", text)


def test_the_image_says_which_version_it_is():
    assert f'image.version="{VERSION}"' in last("LABEL")


@pytest.mark.parametrize("status", [200, 503])
def test_the_health_check_ends_well_only_where_the_server_is_well(status, healthz):
    _, _, command = last("HEALTHCHECK").partition("CMD ")
    name, *words = json.loads(command)
    assert name == "python"
    port = healthz(status)
    assert f"127.0.0.1:{last('EXPOSE')}/healthz" in words[1]
    words[1] = words[1].replace(f":{last('EXPOSE')}/", f":{port}/")
    proxy = {"http_proxy": "http://127.0.0.1:9"}  # a proxy of the host is of no concern
    done = subprocess.run([sys.executable, *words], env=proxy, capture_output=True, check=False)
    assert (done.returncode == 0) == (status == 200)


@pytest.fixture
def healthz():
    """Return a function that starts a server with one answer, and says its port."""
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    servers = []

    def start(status):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status if self.path == "/healthz" else 404)
                self.end_headers()

            def log_message(self, *_):
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1].server_port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Build the wheel of what the Containerfile copies, and unpack it into a folder."""
    folder = tmp_path_factory.mktemp("container")
    source = folder / "source"
    source.mkdir()
    for name in copied():
        skip = shutil.ignore_patterns("__pycache__")
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=skip)
        else:
            shutil.copy(ROOT / name, source)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*build, "--wheel-dir", folder, source], check=True, capture_output=True)
    with zipfile.ZipFile(folder / f"diascope-{VERSION}-py3-none-any.whl") as wheel:
        wheel.extractall(folder / "installed")
    return folder / "installed"


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(installed):
    ours = [path for path in (ROOT / "diascope").rglob("*") if path.is_file()]
    names = {path.relative_to(ROOT) for path in ours if path.suffix != ".pyc"}
    assert {".py", ".j2", ".css", ".yaml"} <= {path.suffix for path in names}
    assert [name for name in sorted(names) if not (installed / name).is_file()] == []
    assert (installed / f"diascope-{VERSION}.dist-info" / "licenses" / "LICENSE").is_file()


@pytest.mark.slow
def test_what_is_installed_serves(installed, tmp_path):
    where = {"PYTHONPATH": str(installed), "HOME": str(tmp_path), "COLUMNS": "100"}
    words = [*json.loads(last("ENTRYPOINT"))[1:], "--help"]
    done = subprocess.run(
        [sys.executable, "-m", "diascope", *words],
        env=where,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    options = [word for word in json.loads(last("CMD")) if word.startswith("--")]
    assert all(option in done.stdout for option in options)
    found = "import diascope; print(diascope.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", found], env=where, cwd=tmp_path, capture_output=True, check=True
    )
    assert str(installed) in done.stdout.decode()
