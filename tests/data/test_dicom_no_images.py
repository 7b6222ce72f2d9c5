"""DICOM files whose pixels are no images to classify, and files that lost their preamble."""

from __future__ import annotations

import numpy as np
import pytest
from drawn.dicom_bundle import save_bundle
from drawn.dicom_files import SYNTAXES, dicom
from drawn.dicom_sources import photograph, write

from diascope.data.formats import FIRST_BYTES, kind_of
from diascope.data.image import open_image
from diascope.data.sources.folder import open_files
from diascope.data.sources.listing import describe_not_taken, list_images
from diascope.errors import ImageError
from diascope.steps.predict import predict

PIXELS = np.zeros((16, 16), np.uint8)
STORAGE = "1.2.840.10008.5.1.4.1.1."


@pytest.mark.parametrize(
    ("uid", "kind"),
    [
        ("66.4", "DICOM segmentation"),
        ("66.5", "DICOM segmentation"),
        ("66.7", "DICOM segmentation"),
        ("30", "DICOM parametric map"),
        ("481.2", "DICOM radiation dose"),
    ],
)
def test_pixels_that_belong_to_other_images_are_not_taken_and_named(tmp_path, uid, kind):
    content = dicom(PIXELS, SOPClassUID=STORAGE + uid)
    assert kind_of(content[:FIRST_BYTES]) == kind
    with pytest.raises(ImageError, match=kind):
        open_image(content)
    (tmp_path / "a.dcm").write_bytes(content)
    (tmp_path / "b").write_bytes(content)
    with open_files(tmp_path) as files:
        images, others = list_images(files)
    assert images == []
    said = describe_not_taken([one.as_dict() for one in others])
    assert said == f"not taken: 2 files ({kind}: a.dcm and 1 more)"


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")
def test_captures_that_diascope_made_are_not_predicted(tmp_path):
    model, study, lines = save_bundle(tmp_path / "bundle"), tmp_path / "study", []
    write(study / "photo.dcm", photograph())
    predict(model, [study], out=study / "p.csv", sr=True, sc=True)
    predict(model, [study], out=tmp_path / "q.csv", say=lines.append)
    assert (tmp_path / "q.csv").read_text().count("\n") == 2
    assert "picture that diascope made: p_dicom/sc/2.25" in lines[0]
    assert "DICOM without an image: p_dicom/sr/2.25" in lines[0]


@pytest.mark.parametrize("syntax", ["little endian", "implicit"])
@pytest.mark.parametrize("n_lost", [128, 132])
def test_a_file_without_its_preamble_is_named_with_its_repair(syntax, n_lost):
    content = dicom(PIXELS, syntax=SYNTAXES[syntax])[n_lost:]
    with pytest.raises(ImageError, match="without its preamble: repair it with dcmconv"):
        open_image(content)


def test_a_dataset_alone_is_named_with_its_repair():
    content = dicom(PIXELS, SpecificCharacterSet="ISO_IR 100", syntax=SYNTAXES["implicit"])
    bare = content[content.index(b"\x08\0\x05\0") :]
    with pytest.raises(ImageError, match="without its preamble: repair it with dcmconv"):
        open_image(bare)
