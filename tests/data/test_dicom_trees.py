"""DICOM files in trees: without suffixes, with a DICOMDIR, in archives, frame by frame."""

from __future__ import annotations

import shutil
import stat
import zipfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
from drawn.dicom_files import SYNTAXES, dicom, draw_dicom_folder, written
from drawn.own_images import CLASSES
from pydicom.filebase import DicomBytesIO
from pydicom.fileset import FileSet

from diascope.bundle.image_files import list_image_files
from diascope.data.dicom.groups import groups_from_tag
from diascope.data.image import decode_image
from diascope.data.sources.dicom import file_of
from diascope.data.sources.folder import open_files
from diascope.data.sources.listing import list_images
from diascope.datasets.own.dataset import own_dataset
from diascope.errors import DataError, GroupsUnknownError, SettingsError, SourceError
from diascope.system.salt import own_salt, salt_path

FRAMES = np.stack([np.full((20, 22), 10 * n, np.uint8) for n in range(1, 5)])


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
    return path


def multi_frame(**tags) -> bytes:
    return dicom(FRAMES, n_frames=4, PatientID="P1", **tags)


@pytest.fixture
def mixed(tmp_path):
    """Return a folder of all kinds of DICOM files and others."""
    root = tmp_path / "mixed"
    root.mkdir()
    (root / "IM1").write_bytes(dicom(FRAMES[0]))
    (root / "IM2").write_bytes(multi_frame())
    (root / "report.dcm").write_bytes(dicom(FRAMES[0], SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33"))
    (root / "DICOMDIR").write_bytes(dicom(FRAMES[0], SOPClassUID="1.2.840.10008.1.3.10"))
    (root / "bare").write_bytes(dicom(FRAMES[0])[132:])
    (root / "broken.dcm").write_bytes(multi_frame()[:-30])
    (root / "README").write_text("text")
    return root


def test_a_tree_lists_images_and_frames_and_counts_the_others(mixed):
    for path in (mixed, zipped(mixed)):
        with open_files(path) as files:
            images, others = list_images(files)
            frames = [f"IM2#frame={n}" for n in (1, 2, 3, 4)]
            assert images == ["IM1", *frames, "broken.dcm"]
            assert {one.kind: one.n_files for one in others} == {
                "DICOMDIR": 1,
                "DICOM without an image": 1,
                "DICOM without its first 132 bytes": 1,
                "text": 1,
            }
            shown = [int(decode_image(files.read(name))[0, 0, 0]) for name in frames]
            assert shown == [10, 20, 30, 40]
            assert files.local_path("IM2#frame=2") is None
            with pytest.raises(SourceError, match="no frame 5 of 4"):
                files.read("IM2#frame=5")


def test_a_file_is_read_once_and_not_by_frame(mixed, monkeypatch):
    with open_files(mixed) as files:
        names = [name for name in files.names() if file_of(name) == "IM2"]
        reads = []
        read = type(files._files).read
        monkeypatch.setattr(
            type(files._files), "read", lambda self, name: reads.append(name) or read(self, name)
        )
        assert len({files.read(name) for name in names}) == 4
        assert reads == ["IM2"]


def test_a_file_whose_name_looks_like_a_frame_is_a_file(tmp_path):
    (tmp_path / "a#frame=2").write_bytes(dicom(FRAMES[2]))
    with open_files(tmp_path) as files:
        assert files.names() == ["a#frame=2"]
        assert decode_image(files.read("a#frame=2"))[0, 0, 0] == 30


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_frames_are_found_in_every_transfer_syntax(tmp_path, syntax):
    (tmp_path / "a.dcm").write_bytes(multi_frame(syntax=SYNTAXES[syntax]))
    with open_files(tmp_path) as files:
        assert len(files.names()) == 4


@pytest.mark.parametrize(
    ("frames", "expected"),
    [("all", [1, 2, 3, 4]), ("first", [1]), ("middle", [3])],
)
def test_a_single_path_is_expanded_to_the_frames_that_are_asked_for(mixed, frames, expected):
    with ExitStack() as opened:
        images, others = list_image_files([mixed / "IM2"], opened, frames=frames)
        assert [name for name, _ in images] == [f"{mixed}/IM2#frame={n}" for n in expected]
        assert [decode_image(read())[0, 0, 0] for _, read in images] == [10 * n for n in expected]
        assert sum(one.n_files for one in others) == 4 - len(expected)
        again, _ = list_image_files([mixed, mixed / "IM2"], opened, frames=frames)
        assert len(again) == 2 + len(expected)


def test_a_dicomdir_tree_is_its_images(tmp_path):
    drawn = draw_dicom_folder(tmp_path / "drawn", n_patients=2)
    index = FileSet()
    for path in sorted(drawn.rglob("IM*")):
        dataset = pydicom.dcmread(path)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200101", "000000", "1"
        dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", 1, 1
        index.add(pydicom.dcmread(DicomBytesIO(written(dataset))))
    index.write(tmp_path / "disc")
    index._stage["t"].cleanup()  # it warns otherwise
    for path in (tmp_path / "disc", zipped(tmp_path / "disc")):
        with open_files(path) as files:
            images, others = list_images(files)
            assert len(images) == 8
            assert [(one.kind, one.first) for one in others] == [("DICOMDIR", ("DICOMDIR",))]


# The user's own images


def test_frames_are_images_of_one_group_unless_others_are_asked_for(tmp_path):
    root = draw_dicom_folder(tmp_path / "own", n_patients=4)
    for label in CLASSES:
        (root / label / "cine").write_bytes(multi_frame())
    spec = own_dataset(root, ungrouped=True)
    with open_files(root) as files:
        table = spec.index(files)
    assert (table.height, spec.group_kind) == (16 + 8, "file")
    spec = own_dataset(root, ungrouped=True, frames="first")
    assert spec.passed == {
        "frame that was not asked for": [
            f"{label}/cine#frame={n}" for label in CLASSES for n in (2, 3, 4)
        ]
    }
    spec = own_dataset(root, group_from="^(.+)$")
    with open_files(root) as files:
        assert sorted(spec.index(files)["group"].unique())[-1] == "cine"
    with pytest.raises(SettingsError, match="There is no choice of frames"):
        own_dataset(root, frames="last")
    with pytest.raises(SettingsError, match="--window must be file"):
        own_dataset(root, window="dark")


def test_a_table_of_files_becomes_a_table_of_frames(tmp_path):
    (tmp_path / "a.dcm").write_bytes(multi_frame())
    (tmp_path / "b.dcm").write_bytes(dicom(FRAMES[0]))
    rows = ["image_id,path,label,group,age", "one,a.dcm,x,1,40", "two,b.dcm,y,2,50"]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    spec = own_dataset(tmp_path / "t.csv")
    with open_files(tmp_path) as files:
        table = spec.index(files)
    assert table["image_id"].to_list() == [*(f"one#frame={n}" for n in (1, 2, 3, 4)), "two"]
    assert table["age"].to_list() == ["40"] * 4 + ["50"]
    rows = ["path,label,group", "a.dcm#frame=1,x,1", "a.dcm#frame=2,x,2", "b.dcm,y,3"]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    with pytest.raises(DataError, match="Frames of 1 files are of more than one group"):
        own_dataset(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("path,label\na.dcm,x\na.dcm#frame=2,x\nb.dcm,y\n")
    with pytest.raises(DataError, match="A file and frames of it"):
        own_dataset(tmp_path / "t.csv", ungrouped=True)


# Groups out of headers


def grouped(root: Path, tag: str = "PatientID", **options):
    spec = own_dataset(root, group_from=f"dicom:{tag}", **options)
    with open_files(root) as files:
        return spec, spec.index(files)


def test_patients_are_the_groups_and_only_digests_are_kept(tmp_path):
    root = draw_dicom_folder(tmp_path / "own")
    spec, table = grouped(root)
    assert (spec.group_kind, table["group"].n_unique()) == ("patient", 12)
    assert table["group"].str.contains("^[0-9a-f]{16}$").all()
    assert grouped(root)[1].equals(table)
    assert stat.S_IMODE(salt_path().stat().st_mode) == 0o600
    assert len(own_salt()) == 32
    salt_path().unlink()
    assert set(grouped(root)[1]["group"]).isdisjoint(table["group"])
    salt_path().write_text("not a salt")
    with pytest.raises(SourceError, match="salt of pseudonyms is damaged"):
        grouped(root)


def test_studies_and_series_are_groups_and_what_they_split_is_said(tmp_path):
    root = draw_dicom_folder(tmp_path / "own")
    spec, table = grouped(root, "StudyInstanceUID")
    assert (spec.group_kind, table["group"].n_unique()) == ("study", 12)
    spec, table = grouped(root, "SeriesInstanceUID")
    assert (spec.group_kind, table["group"].n_unique()) == ("series", 48)
    assert any(
        "12 patients with more than one series: their series may" in one for one in spec.remarks
    )


def test_a_study_of_two_patients_is_refused_without_their_names(tmp_path):
    root = draw_dicom_folder(tmp_path / "own")
    path = root / "benign" / "IM000"
    dataset = pydicom.dcmread(path)
    dataset.PatientID = "PAT-99"
    path.write_bytes(written(dataset))
    with pytest.raises(DataError, match="1 study with images of more than one patient") as refused:
        grouped(root, "StudyInstanceUID")
    assert "PAT-" not in str(refused.value)


def with_id(path: Path, patient: str) -> None:
    dataset = pydicom.dcmread(path)
    dataset.PatientID = patient
    path.write_bytes(written(dataset))


def test_a_patient_in_two_spellings_is_refused_without_the_id(tmp_path):
    root = draw_dicom_folder(tmp_path / "own")
    for path, patient in (("benign/IM000", "pat-0"), ("malign/IM001", "PAT_0")):
        with_id(root / path, patient)
    with_id(root / "benign" / "IM010", "unknown")
    with pytest.raises(
        DataError, match="1 PatientID in several spellings; and 1 file with a"
    ) as no:
        grouped(root)
    assert "benign/IM000" in str(no.value)
    assert "malign/IM001" in str(no.value)
    assert "benign/IM010" in str(no.value)
    assert "pat" not in str(no.value).replace(str(tmp_path), "").lower().replace("patient", "")
    spec, table = grouped(root, accept_spellings=True)
    of_path = dict(table.select("path", "group").iter_rows())
    assert (
        len({of_path[f"{label}/IM00{n}"] for n, label in enumerate(("benign", "malign") * 2)}) == 1
    )
    assert table["group"].n_unique() == 13  # and nobody knows who the unknown one is
    assert any("each id in one spelling" in remark for remark in spec.remarks)


def test_a_study_of_two_ids_is_said_where_patients_are_the_groups(tmp_path):
    root = draw_dicom_folder(tmp_path / "own")
    with_id(root / "benign" / "IM000", "PAT-99")
    for tag in ("PatientID", "SeriesInstanceUID"):
        spec, _ = grouped(root, tag)
        (said,) = [one for one in spec.remarks if "more than one PatientID" in one]
        assert said.startswith("1 study with images of more than one PatientID")
        assert "benign/IM000" in said
        assert "PAT-" not in said


def test_files_without_the_tag_are_named(tmp_path):
    root = draw_dicom_folder(tmp_path / "own", n_patients=4)
    (root / "benign" / "other").write_bytes(dicom(FRAMES[0]))
    with pytest.raises(SettingsError, match="1 of 17 files have no PatientID") as refused:
        grouped(root)
    assert "benign/other" in str(refused.value)
    with pytest.raises(SettingsError, match="'PatientName' is not a tag"):
        grouped(root, "PatientName")


def test_a_header_that_is_long_or_deflated_is_read_as_well():
    long = dicom(FRAMES[0], PatientID="P1", ImageComments="x" * 9000, IconImageSequence=[])
    files = {
        "a": multi_frame(),
        "b": dicom(FRAMES[0], PatientID="P1", PatientComments="x" * 9_000),
        "c": dicom(FRAMES[0], PatientID="P1 ", syntax=SYNTAXES["deflated"]),
        "d": long,
        "e": dicom(FRAMES[0], PatientID="P2"),
    }
    groups, _ = groups_from_tag({name: lambda c=c: c for name, c in files.items()}, "PatientID")
    assert len(set(groups[:4])) == 1
    assert groups[4] != groups[0]


def test_the_question_for_groups_proposes_the_patients(tmp_path):
    root = draw_dicom_folder(tmp_path / "own")
    with pytest.raises(GroupsUnknownError) as question:
        own_dataset(root)
    assert question.value.group_from == "dicom:PatientID"
    assert "--group-from dicom:PatientID" in str(question.value)
    assert "12 patients of 4 images each" in str(question.value)
    shutil.rmtree(root / "malign")
    (root / "malign").mkdir()
    (root / "malign" / "x").write_bytes(dicom(FRAMES[0]))
    with pytest.raises(GroupsUnknownError) as question:
        own_dataset(root)
    assert question.value.group_from != "dicom:PatientID"


def test_groups_of_names_are_those_of_files():
    from diascope.data.grouping import groups_from

    assert groups_from(["a.dcm#frame=1", "a.dcm#frame=2"], ".+").to_list() == ["a.dcm"] * 2
    assert isinstance(groups_from(["a"], ".+"), pl.Series)
    with pytest.raises(SettingsError, match="only names"):
        groups_from(["a"], "dicom:PatientID")
