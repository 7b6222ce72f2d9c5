"""Tokens: where they are read, and what is no token."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import pytest

from diascope.errors import SettingsError
from diascope.serving.tokens import (
    COOKIE_SECONDS,
    Lock,
    check_host_needs_token,
    exposure,
    is_loopback,
    read_token,
)

TOKEN = "a-token-that-is-long-enough"  # noqa: S105


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


def test_the_file_comes_before_the_variable_and_without_both_there_is_none(file, monkeypatch):
    monkeypatch.delenv("DIASCOPE_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("DIASCOPE_TOKEN", TOKEN[::-1])
    assert read_token(None) == TOKEN[::-1]
    assert read_token(file) == TOKEN
    file.write_bytes(TOKEN.encode() + b"\r\n")
    assert read_token(file) == TOKEN


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"secret-short", "characters"),
        (b"secret-" * 2000, "characters"),
        (b"secret-line-of-a-token\nsecret-line-of-a-token\n", "several lines"),
        (b"secret- words of a token", "not visible"),
        ("secret-naïve-token-of-words".encode(), "not visible"),
        (b"secret-of-a-token-\xff\xfe", "UTF-8"),
        (b"secret-of-a-token-\0\0\0", "not visible"),
    ],
)
def test_what_is_no_token_is_refused_and_never_shown(file, content, problem):
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=problem) as refused:
        read_token(file)
    assert "secret-" not in str(refused.value)
    assert (refused.value.where, bool(refused.value.fix)) == (file, True)


def test_a_variable_that_is_set_and_empty_is_no_open_door(monkeypatch):
    monkeypatch.setenv("DIASCOPE_TOKEN", "")
    with pytest.raises(SettingsError, match="empty"):
        read_token(None)


def test_a_file_that_cannot_be_read_is_named(tmp_path, file):
    for path in (tmp_path / "missing", tmp_path, file / "below"):
        with pytest.raises(SettingsError) as refused:
            read_token(path)
        assert refused.value.where == path
    if os.geteuid():
        file.chmod(0)
        with pytest.raises(SettingsError, match="Permission"):
            read_token(file)


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingsError, match="not in a file"):
        read_token(tmp_path / "pipe")


def test_a_file_that_others_may_read_is_warned_of(file):
    assert exposure(file) is None
    file.chmod(0o640)
    assert "chmod 600" in exposure(file)
    assert TOKEN not in exposure(file)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "::1", "[::1]"]
)
def test_loopback_needs_no_token(host):
    assert is_loopback(host)
    check_host_needs_token(host, None)


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.0.0.1.example.org", "0177.1"],  # noqa: S104
)
def test_any_other_address_needs_one(host):
    check_host_needs_token(host, TOKEN)
    with pytest.raises(SettingsError, match="needs a token"):
        check_host_needs_token(host, None)


def test_a_cookie_opens_until_its_time_and_only_with_its_token(monkeypatch):
    lock = Lock(TOKEN)
    cookie = lock.cookie()
    assert lock.is_cookie(cookie)
    assert Lock(TOKEN).is_cookie(cookie)  # of another worker
    assert not Lock(TOKEN[::-1]).is_cookie(cookie)
    ends, _, seal = cookie.partition(".")
    others = (f"{int(ends) + 1}.{seal}", f"{ends}.", ends, "", ".", "²." + seal, "9" * 99, "ü." * 5)
    assert not any(map(lock.is_cookie, others))
    later = time.time() + COOKIE_SECONDS + 1
    monkeypatch.setattr("diascope.serving.tokens.time", SimpleNamespace(time=lambda: later))
    assert not lock.is_cookie(cookie)


def test_a_lock_does_not_show_its_token():
    assert TOKEN not in repr(Lock(TOKEN))
    assert Lock(TOKEN).is_token(TOKEN.encode())
    assert not Lock(TOKEN).is_token(TOKEN.encode() + b"x")
    assert not Lock(TOKEN).is_token(b"\xff")
