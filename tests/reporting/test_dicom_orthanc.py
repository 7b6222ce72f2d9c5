"""A real archive, Orthanc, takes what is written: by DICOMweb and by C-STORE, and gives it back."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import polars as pl
import pydicom
import pytest
import requests
from drawn.dicom_bundle import save_bundle
from drawn.dicom_sources import loop, photograph, radiograph, write
from drawn.ports import reserved_port

from diascope.errors import SourceError
from diascope.steps.predict import predict

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*"),
]
PLUGINS = (Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so"),)
USER = {"diascope": "secret"}


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    """Start an empty Orthanc on loopback; return the addresses of its services."""
    program, plugin = shutil.which("Orthanc"), next((p for p in PLUGINS if p.exists()), None)
    if program is None or plugin is None:
        pytest.skip("Orthanc with its DICOMweb plugin is not installed: `make readers` brings it")
    folder = tmp_path_factory.mktemp("orthanc")
    web, dicom = reserved_port(), reserved_port()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": web,
        "DicomPort": dicom,
        "DicomAet": "ARCHIVE",
        "DicomCheckCalledAet": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": USER,
        "Plugins": [str(plugin)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings), "utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, folder / "orthanc.json"], stdout=log, stderr=log)
        url = f"http://127.0.0.1:{web}"
        until = time.monotonic() + 300
        while time.monotonic() < until and process.poll() is None and not is_up(url):
            time.sleep(0.2)
        assert is_up(url), (folder / "log").read_text("utf-8", "replace")[-2000:]
        yield url, dicom
        process.terminate()
        process.wait(30)


def is_up(url):
    try:
        return requests.get(f"{url}/system", auth=("diascope", "secret"), timeout=2).ok
    except requests.RequestException:
        return False


@pytest.fixture(autouse=True)
def _signed_in(monkeypatch):
    monkeypatch.setenv("DIASCOPE_DICOMWEB_USER", "diascope:secret")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save_bundle(tmp_path_factory.mktemp("sure"))


def draw(folder, study):
    return [
        write(folder / "photo.dcm", photograph(study=study)),
        write(folder / "chest.dcm", radiograph(2, series=2, study=study)),
        write(folder / "loop.dcm", loop(3, series=3, study=study, n_frames=2)),
    ]


def test_what_is_sent_by_stow_is_found_by_qido_and_comes_back_by_wado(orthanc, bundle, tmp_path):
    url = f"{orthanc[0]}/dicom-web"
    lines = []
    options = {"sr": True, "sc": True, "to": url, "say": lines.append}
    table = predict(bundle, draw(tmp_path, 1), out=tmp_path / "p.csv", **options)
    assert lines[-1] == f"8 instances sent to {url} and found there"
    predict(bundle, draw(tmp_path, 1), out=tmp_path / "p.csv", overwrite=True, **options)
    assert lines[-1].endswith("; 8 were there before")
    for row in pl.read_csv(table, infer_schema=False).iter_rows(named=True):
        for path in (row["sr"], row["sc"]):
            mine = pydicom.dcmread(path)
            assert fetched(url, mine) == mine


def fetched(url, mine):
    """Return an instance as an independent client of DICOMweb gets it back."""
    web = pytest.importorskip("dicomweb_client.api", reason="`make readers` brings it")
    session = requests.Session()
    session.auth = ("diascope", "secret")
    client = web.DICOMwebClient(url, session=session)
    uids = (mine.StudyInstanceUID, mine.SeriesInstanceUID, mine.SOPInstanceUID)
    found = client.search_for_instances(uids[0], uids[1])
    assert uids[2] in [one["00080018"]["Value"][0] for one in found]
    return client.retrieve_instance(*uids)


def test_an_independent_client_stores_the_same_files(orthanc, bundle, tmp_path):
    web = pytest.importorskip("dicomweb_client.api", reason="`make readers` brings it")
    url = f"{orthanc[0]}/dicom-web"
    predict(bundle, draw(tmp_path, 2)[:1], out=tmp_path / "p.csv", sr=True, sc=True)
    session = requests.Session()
    session.auth = ("diascope", "secret")
    files = sorted((tmp_path / "p_dicom").rglob("*.dcm"))
    web.DICOMwebClient(url, session=session).store_instances(list(map(pydicom.dcmread, files)))
    for path in files:
        assert fetched(url, pydicom.dcmread(path)) == pydicom.dcmread(path)


def test_c_store_takes_every_instance(orthanc, bundle, tmp_path):
    network = pytest.importorskip("pynetdicom", reason="`make readers` brings it")
    predict(bundle, draw(tmp_path, 3), out=tmp_path / "p.csv", sr=True, sc=True)
    files = sorted((tmp_path / "p_dicom").rglob("*.dcm"))
    entity = network.AE("DIASCOPE")
    for uid in {pydicom.dcmread(path).SOPClassUID for path in files}:
        entity.add_requested_context(uid, pydicom.uid.ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", orthanc[1], ae_title="ARCHIVE")
    assert association.is_established
    states = [association.send_c_store(pydicom.dcmread(path)).Status for path in files]
    association.release()
    assert states == [0] * 8
    url = f"{orthanc[0]}/dicom-web"
    for path in files:
        assert fetched(url, pydicom.dcmread(path)) == pydicom.dcmread(path)


def test_a_wrong_password_is_said_in_words(orthanc, bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("DIASCOPE_DICOMWEB_USER", "diascope:guess")
    with pytest.raises(SourceError, match="HTTP 401"):
        predict(
            bundle,
            draw(tmp_path, 4)[:1],
            out=tmp_path / "p.csv",
            sr=True,
            to=f"{orthanc[0]}/dicom-web",
        )
