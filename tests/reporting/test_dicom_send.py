"""Sending by DICOMweb: what arrives, what is there already, and services that answer badly."""

from __future__ import annotations

import socket

import pytest
from drawn.dicom_bundle import save_bundle
from drawn.dicom_sources import photograph, radiograph, write
from drawn.dicom_web import dicom_web
from drawn.ports import reserved_port

from diascope.errors import SettingsError, SourceError
from diascope.reporting.dicom.send import archive_at
from diascope.steps.predict import predict


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save_bundle(tmp_path_factory.mktemp("sure"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("diascope.reporting.dicom.send.WAITS_SECONDS", (0.0, 0.0, 0.0))
    for name in ("DIASCOPE_DICOMWEB_TOKEN", "DIASCOPE_DICOMWEB_USER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def service():
    with dicom_web() as found:
        yield found


@pytest.fixture
def sent(bundle, tmp_path):
    """Return a function that predicts two images and sends two reports."""
    paths = [
        write(tmp_path / "photo.dcm", photograph()),
        write(tmp_path / "chest.dcm", radiograph(2, series=2)),
    ]

    def send(url, **options):
        lines = []
        options = {"overwrite": True, **options}
        predict(bundle, paths, out=tmp_path / "p.csv", sr=True, to=url, say=lines.append, **options)
        return lines

    return send


@pytest.mark.slow
def test_what_is_sent_arrives_byte_for_byte_and_is_sent_once(sent, service, tmp_path):
    lines = sent(f"{service.url}/")
    assert lines[-1] == f"2 instances sent to {service.url} and found there"
    files = {path.stem: path.read_bytes() for path in (tmp_path / "p_dicom").rglob("*.dcm")}
    assert service.stored == files
    again = sent(service.url)
    assert again[-1].startswith("0 instances sent")
    assert again[-1].endswith("; 2 were there before")
    assert service.n_posts == 2


def test_a_service_that_finds_late_is_waited_for(sent, service):
    service.late = 1
    assert sent(service.url)[-1].startswith("2 instances sent")


def test_a_service_that_swallows_is_caught(sent, service, tmp_path):
    service.swallows = True
    with pytest.raises(SourceError, match=r"does not find it \(QIDO-RS\): it may be lost") as error:
        sent(service.url)
    assert "0 of 2 instances arrived" in str(error.value)
    assert "--overwrite sends what is missing" in str(error.value)
    assert (tmp_path / "p.csv").is_file()
    assert len(list((tmp_path / "p_dicom").rglob("*.dcm"))) == 2


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (302, r"The archive is elsewhere \(HTTP 302\)"),
        (403, r"does not let you look for an instance \(QIDO-RS\) \(HTTP 403\)"),
        (404, r"There is no DICOMweb at this address"),
        (500, r"The archive refused to look for an instance \(QIDO-RS\) \(HTTP 500\)"),
    ],
)
def test_an_answer_of_failure_is_said_in_words(sent, service, status, words):
    service.status = status
    with pytest.raises(SourceError, match=words):
        sent(service.url)


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'[{"a": 1}]', b"[1]", b"null"])
def test_an_answer_that_is_no_dicom_json_is_said_in_words(sent, service, body):
    service.says = body
    with pytest.raises(SourceError, match=r"not DICOM JSON|does not find it"):
        sent(service.url)


def test_where_nobody_answers_it_is_said_in_words_and_nothing_is_lost(sent, tmp_path, call_here):
    url = f"http://127.0.0.1:{reserved_port()}"
    with pytest.raises(SourceError, match=r"There is no answer at this address\. 0 of 2"):
        sent(url)
    assert (tmp_path / "p.csv").is_file()


def test_a_service_that_never_ends_its_answer_is_not_waited_for(sent, monkeypatch):
    monkeypatch.setattr("diascope.reporting.dicom.send.READ_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SourceError, match="did not answer in time"):
            sent(url)


def test_credentials_come_from_the_environment_and_never_from_the_command(
    sent, service, monkeypatch
):
    service.asks_for = "Bearer open sesame"
    with pytest.raises(SourceError, match="HTTP 401") as error:
        sent(service.url)
    assert "DIASCOPE_DICOMWEB_TOKEN" in str(error.value)
    monkeypatch.setenv("DIASCOPE_DICOMWEB_TOKEN", "open sesame")
    assert sent(service.url)[-1].startswith("2 instances sent")
    monkeypatch.delenv("DIASCOPE_DICOMWEB_TOKEN")
    monkeypatch.setenv("DIASCOPE_DICOMWEB_USER", "eva:a:b")
    service.asks_for = "Basic ZXZhOmE6Yg=="
    sent(service.url)
    assert service.signed == {None, "Bearer open sesame", service.asks_for}


def test_credentials_do_not_travel_unencrypted(monkeypatch):
    assert "not encrypted" in archive_at("http://pacs.example.org/dicom-web").warning
    assert not archive_at("https://pacs.example.org").warning
    assert not archive_at("http://127.0.0.1:8042/dicom-web").warning
    monkeypatch.setenv("DIASCOPE_DICOMWEB_TOKEN", "open sesame")
    with pytest.raises(SettingsError, match="would travel unencrypted"):
        archive_at("http://pacs.example.org/dicom-web")
    monkeypatch.delenv("DIASCOPE_DICOMWEB_TOKEN")
    monkeypatch.setenv("DIASCOPE_DICOMWEB_USER", "eva")
    with pytest.raises(SettingsError, match="is not name:password"):
        archive_at("https://pacs.example.org")
