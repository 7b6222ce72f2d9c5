"""The verb export: what it checks on, what it refuses, and that nothing half-made is left."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL
from drawn import run_folders
from drawn.seals import reseal
from PIL import Image

import diascope
from diascope.bundle.bundle import Bundle
from diascope.errors import RunError, SettingsError, SourceError, UnknownNameError
from diascope.exporters.spec import Exporter
from diascope.steps.export import MOST_SAMPLES, export
from diascope.system.files import atomic_folder
from diascope.system.plugins import find, find_all, is_built_in
from diascope.system.sealed import read_sealed

NAMES = """
from diascope.exporters.spec import Exported, Exporter


def export(bundle, folder, samples, card):
    lines = [f"{one.name} {one.image.shape}" for one in samples]
    (folder / "a").mkdir()
    (folder / "a" / "names.txt").write_text("\\n".join(lines))
    (folder / "card.md").write_text(card)
    return Exported(("a/names.txt", "card.md"), (f"{len(lines)} images",))


EXPORTERS = (Exporter("names", "the names of the images", None, export),)
"""


@pytest.fixture
def names(tmp_path):
    """Write an exporter that writes down what it is given."""
    path = tmp_path / "names.py"
    path.write_text(NAMES)
    return str(path)


@pytest.fixture
def bundle(tmp_path):
    """Write the bundle of an untrained network that tells a from b."""
    run_folders.bundle(("a", "b"), "b").save(tmp_path / "my-bundle")
    return tmp_path / "my-bundle"


def lines_of(folder):
    return (folder / "a" / "names.txt").read_text().splitlines()


def test_a_run_is_checked_on_its_validation_images(trained, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, exported = export(trained, exporter=names)
    assert folder.as_posix() == f"exports/{trained.folder.name}-names"
    val = trained.manifest.filter(split="val")
    assert [line.rpartition(" (")[0] for line in lines_of(folder)] == val["path"].to_list()
    assert exported.says == (f"{val.height} images",)
    facts = read_sealed(folder / "export.json", fix="")
    assert facts["checked_on"] == {"images": val.height, "from": "validation images"}
    assert set(facts["files"]) == {"a/names.txt", "card.md"}
    card = Bundle.load(trained.folder / "bundle").card
    assert (facts["model"], facts["weights_sha256"]) == (card.digest, card.weights_sha256)
    model_card = (trained.folder / "bundle" / "README.md").read_text()
    assert (folder / "card.md").read_text() == model_card
    again, _ = export(trained.folder / "bundle", exporter=names, out=tmp_path / "again")
    assert (again / "export.json").read_bytes() == (folder / "export.json").read_bytes()


def test_a_run_without_its_images_says_so_and_takes_golden_ones(trained, names, tmp_path):
    facts = json.loads((trained.folder / "fingerprint.json").read_text())
    assert facts["source"]
    told: list[str] = []
    moved = trained.folder.rename(tmp_path / "elsewhere")
    alone = (moved / "bundle").rename(tmp_path / "alone")
    folder, exported = export(alone, exporter=names, out=tmp_path / "out", say=told.append)
    assert exported.says == ("8 images",)
    assert lines_of(folder)[0] == "golden image noise (100, 200, 3)"


def test_check_on_takes_files_folders_and_no_more_than_enough(bundle, names, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    for number in range(MOST_SAMPLES + 20):
        Image.new("RGB", (5, 4), (number, 0, 0)).save(many / f"{number:03}.png")
    (many / "000.png").write_bytes(b"broken")
    told: list[str] = []
    folder, _ = export(
        bundle, exporter=names, out=tmp_path / "out", check_on=[many], say=told.append
    )
    lines = lines_of(folder)
    assert len(lines) == MOST_SAMPLES - 1
    assert lines[-1].endswith(f"{MOST_SAMPLES + 19}.png (4, 5, 3)")
    assert told == [f"Not checked on {many.as_posix()}/000.png: not an image (text)"]
    with pytest.raises(SourceError, match="nothing at"):
        export(bundle, exporter=names, out=tmp_path / "o", check_on=[tmp_path / "none"])
    with pytest.raises(
        SettingsError, match=r"no image to check[\s\S]*000\.png: not an image[\s\S]*--check-on"
    ):
        export(bundle, exporter=names, out=tmp_path / "o", check_on=[many / "000.png"])
    assert not (tmp_path / "o").exists()


def test_an_old_bundle_alone_asks_for_images(bundle, names, tmp_path):
    reseal(bundle / "card.json", golden_sha256="")
    with pytest.raises(SettingsError, match="no image to check the export on"):
        export(bundle, exporter=names, out=tmp_path / "out")


def test_only_an_export_is_ever_replaced(bundle, names, tmp_path):
    out = tmp_path / "out"
    export(bundle, exporter=names, out=out)
    with pytest.raises(SettingsError, match="exists"):
        export(bundle, exporter=names, out=out)
    (out / "card.md").write_text("changed")
    export(bundle, exporter=names, out=out, overwrite=True)
    assert (out / "card.md").read_text() == ""
    (out / "mine.txt").write_text("precious")
    with pytest.raises(SettingsError, match=r"holds other files: mine\.txt"):
        export(bundle, exporter=names, out=out, overwrite=True)
    assert (out / "mine.txt").read_text() == "precious"
    other = tmp_path / "documents"
    other.mkdir()
    (other / "thesis.txt").write_text("precious")
    with pytest.raises(SettingsError, match="not an export"):
        export(bundle, exporter=names, out=other, overwrite=True)
    assert (other / "thesis.txt").read_text() == "precious"


def test_a_failing_exporter_leaves_the_earlier_export_and_nothing_else(bundle, names, tmp_path):
    out = tmp_path / "out"
    export(bundle, exporter=names, out=out)
    before = sorted(path.name for path in tmp_path.iterdir())
    failing = tmp_path / "names.py"
    failing.write_text(NAMES.replace("return Exported", "raise OSError(28, 'No space')\n    #"))
    with pytest.raises(SettingsError, match=r"exporter names failed: OSError: .*No space"):
        export(bundle, exporter=names, out=out, overwrite=True)
    assert lines_of(out)
    failing.write_text(NAMES.replace('"card.md"),', '"other.md"),'))
    with pytest.raises(SettingsError, match=r"names the files a/names\.txt, other\.md"):
        export(bundle, exporter=names, out=tmp_path / "another")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_link_leads_to_the_folder_that_is_replaced(bundle, names, tmp_path):
    out = tmp_path / "real"
    export(bundle, exporter=names, out=out)
    (tmp_path / "link").symlink_to("real")
    before = sorted(path.name for path in tmp_path.iterdir())
    export(bundle, exporter=names, out=tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert lines_of(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_export_within_its_bundle_or_run_is_refused(bundle, trained, names):
    for model, out in (
        (bundle, bundle / "onnx"),
        (trained, trained.folder / "x"),
        (trained.folder / "bundle", trained.folder / "x"),
    ):
        with pytest.raises(SettingsError, match="is within"):
            export(model, exporter=names, out=out)
        assert not out.exists()


def test_what_an_exporter_of_diascope_raises_is_a_bug(bundle, tmp_path, monkeypatch):
    own = find("exporters", "monai")
    assert is_built_in("exporters", own)

    def fail(*_args, **_options):
        raise KeyError("a bug")

    monkeypatch.setattr("diascope.exporters.monai.metadata", fail)
    with pytest.raises(KeyError, match="a bug"):
        export(bundle, exporter="monai", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_comes_whole_or_not_at_all(tmp_path):
    def fail():
        with atomic_folder(tmp_path / "x") as folder:
            (folder / "file").write_text("1")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []
    for text in ("1", "2"):
        with atomic_folder(tmp_path / "x") as folder:
            (folder / text).write_text(text)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["2"]


def test_an_unknown_format_and_a_missing_bundle_are_named(bundle, tmp_path, cross_validated):
    with pytest.raises(UnknownNameError, match=r"no exporter named 'hup'[\s\S]*'hub'"):
        export(bundle, exporter="hup")
    with pytest.raises(RunError, match="no bundle here"):
        export(tmp_path / "none", exporter="hub")
    with pytest.raises(RunError, match="yields no bundle"):
        export(cross_validated, exporter="hub")


def test_every_exporter_is_declared_and_listed(call_here):
    found = find_all("exporters")
    assert {"hub", "monai", "monai-pickle"} <= set(found)
    assert all(isinstance(one, Exporter) for one in found.values())
    done = call_here("exporters", "--json")
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert set(rows) == set(found)
    assert rows["hub"]["needs"] == "timm"
    assert "timm and the Hugging Face hub" in call_here("exporters").stdout


def test_an_installed_exporter_is_found(bundle, names, tmp_path, monkeypatch):
    namespace: dict = {}
    exec(NAMES, namespace)  # noqa: S102 - as an installed module would be

    class Entry:
        value = "elsewhere:names"

        def load(self):
            return type("module", (), {"__name__": "elsewhere", **namespace})

    def entry_points(group):
        return [Entry()] if group == "diascope.exporters" else []

    monkeypatch.setattr("diascope.system.plugins.entry_points", entry_points)
    folder, _ = export(bundle, exporter="names", out=tmp_path / "out")
    assert len(lines_of(folder)) == 8


def test_the_command_prints_what_was_checked_and_the_folder(bundle, names, call_here, tmp_path):
    Image.fromarray(np.zeros((7, 9, 3), np.uint8)).save(tmp_path / "x.png")
    done = call_here("export", bundle, "--format", names, "--check-on", tmp_path / "x.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["1 images", "exports/my-bundle-names"]
    done = call_here("export", bundle, "--format", names)
    assert done.returncode == 2
    assert "error: exports/my-bundle-names exists." in done.stderr
    done = call_here("export", bundle, "--format", "hub")
    assert done.returncode == 2
    assert "error: This bundle cannot be laid out for timm: timm has no architecture called " in (
        done.stderr
    )


def test_export_is_a_public_function():
    assert diascope.export is export


@pytest.mark.slow
def test_a_trained_network_of_timm_goes_from_the_run_to_timm(train_once, copy_of, call_here):
    settings = [*SMALL, "weights=random", "fit=stretch", "size_px=32"]
    run = copy_of(train_once(model="timm:resnet18", settings=settings), "run")
    done = call_here("export", run.folder, "--format", "hub")
    assert done.returncode == 0, done.stderr
    n_val = run.manifest.filter(split="val").height
    assert done.stdout.startswith(f"Checked on {n_val} images, loaded by timm: on the same pixels")
    assert done.stdout.splitlines()[-1] == "exports/run-hub"
    page = (Path("exports/run-hub") / "README.md").read_text("utf-8")
    assert "library_name: timm" in page
    assert "## How to use it with timm" in page
    assert "diascope.load" not in page
    done = call_here("export", run.folder, "--format", "monai-pickle")
    assert done.returncode == 0, done.stderr
    terms = (Path("exports/run-monai-pickle") / "docs" / "license.txt").read_text("utf-8")
    assert terms.startswith("Of the weights: ")
