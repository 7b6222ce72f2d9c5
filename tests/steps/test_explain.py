"""Explain: pages, pictures and arrays, and no heat map without its verdict."""

from __future__ import annotations

import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from drawn.run_folders import BINARY, make_run
from drawn.run_folders import bundle as draw_bundle
from drawn.verdicts import Judge
from PIL import Image

import diascope
from diascope.bundle.map_verdicts import FILE as VERDICTS
from diascope.bundle.map_verdicts import MapVerdicts
from diascope.data.image import decode_image, fit_image
from diascope.errors import ImageError, RunError, SettingsError, SourceError, UnknownNameError
from diascope.explanations.explained import ImageExplainer
from diascope.explanations.heat_maps import Explainer
from diascope.reporting.explain.verdicts import MOST_IMAGES
from diascope.steps.explain import explain, write_explanations
from diascope.steps.predict import predict

DEFAULTS = ("grad-cam", "hires-cam", "integrated-gradients", "occlusion")
FAST = ("grad-cam", "hires-cam")


@pytest.fixture(autouse=True)
def judge(monkeypatch):
    """Let verdicts be found in a moment."""
    one = Judge()
    one.take_over(monkeypatch)
    return one


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """Let no figure be drawn, which takes the most time, but where a test looks at them."""
    if "figures" not in request.fixturenames:
        home = "diascope.reporting.explain.files"
        monkeypatch.setattr(f"{home}.figure_to_png", lambda _figure, **_: b"a picture")
        monkeypatch.setattr(f"{home}.figure_to_svg_text", lambda _figure: "<svg/>")


@pytest.fixture
def figures():
    """Let figures be drawn in this test."""


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


@pytest.fixture
def files(run, tmp_path):
    """Return some images of a run whose groups are all called Zebulon."""
    return sorted((tmp_path / "source").rglob("Zebulon00[01]*.png"))[:5]


def some(tmp_path, n_images):
    """Return a folder with some of the images of a run."""
    folder = tmp_path / "some"
    folder.mkdir()
    for path in sorted((tmp_path / "source").rglob("*.png"))[:n_images]:
        shutil.copy(path, folder)
    return folder


def write(run, files, out, **options):
    said = []
    options = {"methods": FAST, **options}
    return write_explanations(run, files, out=out, say=said.append, **options), said


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pixels_of(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def folder_of(out, path):
    table = pl.read_csv(out / "explanations.csv")
    page = table.filter(pl.col("path") == str(path))["page"].item()
    return (out / page).parent


def test_an_image_gets_a_page_with_pictures_and_numbers(figures, run, files, tmp_path):
    overview, said = write(run, files[:1], tmp_path / "out", methods=None)
    assert overview == tmp_path / "out" / "index.html"
    folder = folder_of(tmp_path / "out", files[0])
    names = {path.name for path in folder.iterdir()}
    for method in DEFAULTS:
        assert {f"{method}.png", f"{method}.svg", f"{method}.npz"} <= names
        with Image.open(folder / f"{method}.png") as picture:
            assert picture.size[0] > 1000
    assert {"index.html", "input.png", "features-0.png", "features-4.svg"} <= names
    assert any("body." in line and "found automatically" in line for line in said)
    page = (folder / "index.html").read_text("utf-8")
    assert "This map tells 8\xa0x\xa08 places apart." in page
    assert "First convolution: all 32 filters" in page
    assert "the 32 most active of 128 maps" in page
    assert page.index("HiResCAM</") > 0


def test_a_page_says_the_prediction_in_words_as_predict_does(run, files, tmp_path):
    write(run, files, tmp_path / "out")
    table = pl.read_csv(predict(run, files, out=tmp_path / "p.csv"))
    for path, called, probability in table.select(
        "path", "predicted", pl.max_horizontal("^probability_.*$")
    ).iter_rows():
        page = (folder_of(tmp_path / "out", path) / "index.html").read_text("utf-8")
        assert f"<h1>{called}, {100 * probability:.0f} %</h1>" in page
        assert "which is not calibrated" in page
        assert "There are no prediction sets" in page
    explained = pl.read_csv(tmp_path / "out" / "explanations.csv")
    assert explained["predicted"].to_list() == table["predicted"].to_list()


def test_pages_work_from_disk_with_nothing_from_elsewhere(run, files, tmp_path):
    overview, _ = write(run, files, tmp_path / "out")
    pages = [overview, *(tmp_path / "out").glob("images/*/index.html")]
    assert len(pages) == 6
    for page in pages:
        text = page.read_text("utf-8")
        assert "http" not in text
        for source in re.findall(r'(?:src|href)="([^"#]+)"', text):
            assert (page.parent / source).is_file(), source
    assert 'type="range"' in text


def test_the_numbers_of_a_map_are_those_of_the_function(run, files, tmp_path):
    write(run, files, tmp_path / "out", methods=None, target="parasitized")
    found = explain(run, files, targets="parasitized")
    assert found.methods == DEFAULTS
    bundle = diascope.load(run)
    layers = [Explainer.of(bundle, method).layer for method in DEFAULTS]
    assert found.layers == tuple(layer.name if layer else "" for layer in layers)
    assert found.layers[0].startswith("body.")
    assert found.maps.shape == (4, 5, 32, 32)
    assert found.maps.dtype == np.float32
    assert set(found.targets.tolist()) == {1}
    for row, path in enumerate(files):
        for number, method in enumerate(found.methods):
            with np.load(folder_of(tmp_path / "out", path) / f"{method}.npz") as stored:
                assert np.allclose(stored["map"], found.maps[number, row], atol=1e-5)
                assert stored["method"] == method
                assert stored["layer"] == found.layers[number]
                assert stored["target"] == 1
                assert stored["target_class"] == "parasitized"
                assert np.allclose(stored["probabilities"], found.probabilities[row], atol=1e-5)
                assert stored["verdict"] == found.verdicts[method].level
                assert stored["finding_names"].tolist() == ["removal", "border"]
                assert stored["finding_is_of_this_map"].tolist() == [False, True]
                assert stored["finding_values"][0] == 0.25


def test_the_function_takes_paths_and_arrays_and_explains_the_predicted_class(run, files):
    from_paths = explain(run, files, methods=FAST)
    images = [decode_image(path.read_bytes(), alpha_background="black") for path in files]
    from_arrays = explain(run, images, methods=FAST)
    assert np.array_equal(from_paths.maps, from_arrays.maps)
    bundle = diascope.load(run)
    assert np.allclose(from_paths.probabilities, bundle.predict_proba(files))
    assert np.array_equal(from_paths.predicted, bundle.decide(from_paths.probabilities))
    assert np.array_equal(from_paths.targets, from_paths.predicted)
    alone = explain(run, files[0], methods=["grad-cam"])
    assert alone.maps.shape == (1, 1, 32, 32)
    assert np.allclose(alone.maps[0, 0], from_paths.maps[0, 0], atol=1e-5)


def test_targets_are_classes_by_name_or_number_one_or_one_an_image(run, files):
    found = explain(run, files, methods=["grad-cam"], targets=[0, "parasitized", 0, 1, 0])
    assert found.targets.tolist() == [0, 1, 0, 1, 0]
    each = [
        explain(run, files, methods=["grad-cam"], targets=number).maps[0] for number in range(2)
    ]
    for row, target in enumerate(found.targets):
        assert np.allclose(found.maps[0, row], each[target][row], atol=1e-5)
    with pytest.raises(SettingsError, match="There is no class 2: they are 0 to 1"):
        explain(run, files, targets=2)
    with pytest.raises(SettingsError, match="There are 2 targets for 5 images"):
        explain(run, files, targets=[0, 1])


def test_images_that_the_network_learned_from_are_counted(run, tmp_path):
    manifest = diascope.Run(run).manifest
    source = Path(diascope.Run(run).fingerprint["source"])
    of = {split: manifest.filter(pl.col("split") == split)["path"] for split in ("train", "test")}
    _, said = write(run, [source / path for path in of["train"][:2]], tmp_path / "learned")
    assert "warning: of 2 files, the network learned from 2: do not judge it by these" in said
    _, said = write(run, [source / of["test"][0]], tmp_path / "new")
    assert not any("learned" in line for line in said)


def test_no_image_at_all_gives_empty_arrays(run):
    found = explain(run, [], methods=["grad-cam"])
    assert found.maps.shape == (1, 0, 32, 32)
    assert found.probabilities.shape == (0, 2)


def test_an_unreadable_image_is_an_error_of_the_function(run, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ImageError, match="not an image"):
        explain(run, [tmp_path / "text.png"])


def test_a_class_that_does_not_exist_is_refused_with_the_nearest(run, files, tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'parasitized'"):
        write(run, files, tmp_path / "out", target="parasitised")
    assert not (tmp_path / "out").exists()


def test_a_class_can_be_named_by_its_title(run, files, tmp_path):
    title = {"parasitized": "with a parasite"}
    bundle = diascope.load(run)
    titled = replace(bundle, card=bundle.card.model_copy(update={"class_titles": title}))
    titled.save(tmp_path / "titled")
    found = explain(tmp_path / "titled", files, targets="with a parasite", methods=["grad-cam"])
    assert set(found.targets.tolist()) == {1}
    overview, _ = write(tmp_path / "titled", files, tmp_path / "out", target="with a parasite")
    assert "the class <strong>with a parasite</strong>" in overview.read_text("utf-8")


def test_unknown_methods_and_layers_are_refused_with_the_nearest(run, files, tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'grad-cam'"):
        write(run, files, tmp_path / "out", methods=["gradcam"])
    with pytest.raises(SettingsError, match=r"no layer 'body.33'[\s\S]*body.3"):
        write(run, files, tmp_path / "out", layer="body.33")
    with pytest.raises(SettingsError, match="takes no layer"):
        write(run, files, tmp_path / "out", methods=["occlusion"], layer="body.3")


def test_a_layer_is_for_the_methods_that_take_one(run, files, tmp_path):
    found = explain(run, files, layer="body.5", methods=["grad-cam", "occlusion"])
    assert found.layers == ("body.5", "")
    _, said = write(run, files, tmp_path / "out", layer="body.5")
    assert "layer of Grad-CAM, HiResCAM: body.5, 4 x 4 places" in said


def test_methods_that_the_network_does_not_allow_are_left_out_and_said(
    run, files, tmp_path, monkeypatch
):
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2))
    bundle = replace(diascope.load(run), module=flat)
    monkeypatch.setattr("diascope.steps.explain.open_bundle", lambda _model: bundle)
    _, said = write(run, files, tmp_path / "out", methods=None)
    assert said[0].startswith("grad-cam is left out: No layer of this network keeps places")
    folder = folder_of(tmp_path / "out", files[0])
    assert not (folder / "grad-cam.png").exists()
    assert (folder / "occlusion.png").exists()
    assert "Feature maps" not in (folder / "index.html").read_text("utf-8")
    with pytest.raises(SettingsError, match="keeps places"):
        write(run, files, tmp_path / "other", methods=["grad-cam"])


def test_a_run_is_tested_once_on_validation_images_and_keeps_the_verdicts(run, files, judge):
    found = explain(run, files, methods=FAST)
    manifest = diascope.Run(run).manifest.filter(pl.col("split") == "val")
    assert [one.method for one in judge.judged] == ["grad-cam", "hires-cam"]
    images, labels = judge.judged[0].images, judge.judged[0].labels
    assert judge.judged[0].groups == manifest["group"].to_list()
    assert len(images) == len(labels) == manifest.height == 18
    assert labels.tolist() == [BINARY.index(label) for label in manifest["label"]]
    source = Path(diascope.Run(run).fingerprint["source"])
    for path, image in zip(manifest["path"], images, strict=True):
        pixels = decode_image((source / path).read_bytes(), alpha_background="black")
        assert np.array_equal(image, fit_image(pixels, 32, fit="pad"))
    assert found.verdicts["grad-cam"].level == "weak"
    stored = MapVerdicts.load(run / "bundle", diascope.load(run).card.weights_sha256)
    assert stored.images == "18 validation images, chosen evenly by class"
    assert stored.of("hires-cam", found.layers[1]) == found.verdicts["hires-cam"]
    again = explain(run / "bundle", files, methods=(*FAST, "occlusion"))
    assert [one.method for one in judge.judged[2:]] == ["occlusion"]
    assert again.verdicts["grad-cam"] == found.verdicts["grad-cam"]
    assert len(diascope.load(run).map_verdicts.verdicts) == 3


def test_no_more_validation_images_are_judged_than_needed(tmp_path, judge):
    run = make_run(tmp_path, n_groups=60)
    explain(run, [], methods=["grad-cam"])
    assert len(judge.judged[0].images) == MOST_IMAGES == 60
    assert diascope.Run(run).manifest.filter(pl.col("split") == "val").height == 72


def test_where_the_images_are_gone_nothing_is_tested_and_that_is_said(run, files, tmp_path, judge):
    kept = [shutil.copy(path, tmp_path / path.name) for path in files]
    shutil.rmtree(tmp_path / "source")
    _, said = write(run, kept, tmp_path / "out")
    assert any(
        line.startswith("not tested: grad-cam, hires-cam")
        and "The run has 0 validation images that can be read" in line
        for line in said
    )
    assert not judge.judged
    assert not (run / "bundle" / VERDICTS).exists()
    page = (folder_of(tmp_path / "out", kept[0]) / "index.html").read_text("utf-8")
    assert page.count('<span class="chip not-tested">not tested</span>') == 2
    assert "Draw no conclusion from it." in page


def test_where_the_images_are_gone_those_of_the_cache_are_judged(trained, cells, judge):
    files = sorted(cells.rglob("*.png"))[:2]
    source = diascope.Run(trained.folder).fingerprint["source"]
    judge.fewest = 5
    n_val = trained.manifest.filter(pl.col("split") == "val").height
    with pytest.MonkeyPatch.context() as patch:

        def gone(path):
            raise SourceError(f"{path} is gone.")

        patch.setattr("diascope.reporting.explain.verdicts.open_files", gone)
        judge.take_over(patch)
        explain(trained, files, methods=["grad-cam"])
    from_cache = judge.judged[0].images
    assert len(from_cache) == min(n_val, 60)
    assert Path(source).exists()
    (trained.folder / "bundle" / VERDICTS).unlink()
    explain(trained, files, methods=["grad-cam"])
    assert np.array_equal(from_cache, judge.judged[1].images)


@pytest.mark.slow
def test_a_bundle_alone_is_tested_on_enough_images_and_else_not(run, files, tmp_path, judge):
    alone = Path(shutil.copytree(run / "bundle", tmp_path / "alone"))
    found = explain(alone, files, methods=["grad-cam"])
    assert found.verdicts == {"grad-cam": None}
    _, said = write(alone, files, tmp_path / "few")
    assert "takes at least 10 images" in said[-1]
    assert "explain the run itself" in said[-1]
    assert not judge.judged
    overview, said = write(alone, [some(tmp_path, 20)], tmp_path / "many")
    assert len(judge.judged[0].images) == 20
    assert judge.judged[0].labels is None
    assert judge.judged[0].groups is None
    assert "with 20 of the images explained here, each counted as a group" in overview.read_text(
        "utf-8"
    )
    assert not (alone / VERDICTS).exists()
    # Work that goes on shows the verdicts that the pages have
    write(alone, files, tmp_path / "many")
    assert len(judge.judged) == 2


def test_verdicts_that_cannot_be_kept_are_shown_all_the_same(run, files, tmp_path, monkeypatch):
    def full(_self, _folder):
        raise SourceError("The disk is full.")

    monkeypatch.setattr(MapVerdicts, "save", full)
    _, said = write(run, files, tmp_path / "out")
    assert any("are not kept beside the weights: The disk is full." in line for line in said)
    page = (folder_of(tmp_path / "out", files[0]) / "index.html").read_text("utf-8")
    assert "tested: passes" in page


def test_the_method_that_passes_comes_first_and_one_that_fails_is_grey(run, files, tmp_path):
    overview, _ = write(run, files, tmp_path / "out", methods=DEFAULTS)
    folder = folder_of(tmp_path / "out", files[0])
    page = (folder / "index.html").read_text("utf-8")
    places = [page.index(f'<section id="{m}"') for m in ("hires-cam", "occlusion", "grad-cam")]
    assert places == sorted(places)
    assert places[-1] < page.index('<section id="integrated-gradients" class="method fail"')
    assert "It shows nothing." in page
    grey = pixels_of(folder / "integrated-gradients-map.png")
    assert np.array_equal(grey[..., 0], grey[..., 1])
    colour = pixels_of(folder / "hires-cam-map.png")
    assert not np.array_equal(colour[..., 0], colour[..., 1])
    assert "Every heat map method failed" not in page + overview.read_text("utf-8")


def test_where_all_methods_fail_the_page_says_so_first(run, files, tmp_path, monkeypatch):
    all_fail = Judge(dict.fromkeys(DEFAULTS, "fail"))
    all_fail.take_over(monkeypatch)
    overview, _ = write(run, files, tmp_path / "out", methods=DEFAULTS)
    page = (folder_of(tmp_path / "out", files[0]) / "index.html").read_text("utf-8")
    sentence = page.index("Every heat map method failed its test on this network")
    assert sentence < page.index('<section id="grad-cam"') < page.index('<section id="occlusion"')
    assert "Every heat map method failed" in overview.read_text("utf-8")


@pytest.mark.slow
def test_work_goes_on_where_it_ended_and_ends_with_the_same_bytes(
    run, files, tmp_path, monkeypatch
):
    write(run, files, tmp_path / "whole")
    write(run, files[:2], tmp_path / "parts")
    (folder_of(tmp_path / "parts", files[1]) / "about.json").unlink()  # as if it was killed
    explained = []
    explain_images = ImageExplainer.explained

    def noted(self, images):
        explained.append(len(images))
        return explain_images(self, images)

    monkeypatch.setattr(ImageExplainer, "explained", noted)
    _, said = write(run, files, tmp_path / "parts")
    assert explained == [4]
    assert "explained before: 1 image" in said
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    explained.clear()
    _, said = write(run, files, tmp_path / "parts")
    assert not explained
    assert "explained before: 5 images" in said


def test_a_folder_of_something_else_is_refused(run, files, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(SettingsError, match="holds something else than explanations"):
        write(run, files, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SettingsError, match="holds something else"):
        write(run, files, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert write(run, files, tmp_path / "empty")[0].is_file()


def test_a_folder_of_other_options_or_another_model_is_refused(run, files, tmp_path):
    out = tmp_path / "out"
    write(run, files, out)
    before = contents(out)
    with pytest.raises(SettingsError, match="explanations of other methods"):
        write(run, files, out, methods=["grad-cam"])
    with pytest.raises(SettingsError, match="explanations of other methods"):
        write(run, files, out, layer="body.5")
    with pytest.raises(SettingsError, match="explanations of another class"):
        write(run, files, out, target="parasitized")
    bundle = diascope.load(run)
    moved = replace(bundle, card=bundle.card.model_copy(update={"threshold": 0.4}))
    moved.save(tmp_path / "other")
    with pytest.raises(SettingsError, match="explanations of another model"):
        write(tmp_path / "other", files, out)
    (out / "explanation.json").write_text("{}")
    with pytest.raises(RunError, match="format"):
        write(run, files, out)
    assert {**contents(out), "explanation.json": before["explanation.json"]} == before


def test_pages_with_other_verdicts_are_not_mixed(run, files, tmp_path, monkeypatch, judge):
    write(run, files, tmp_path / "out")
    (run / "bundle" / VERDICTS).unlink()
    other = Judge({"grad-cam": "fail"})
    other.take_over(monkeypatch)
    explain(run, files, methods=["grad-cam"])
    with pytest.raises(SettingsError, match="begun with other verdicts"):
        write(run, files, tmp_path / "out")


def test_a_file_that_cannot_be_read_has_a_row_with_the_reason(run, files, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    overview, _ = write(run, [*files, tmp_path / "text.png"], tmp_path / "out")
    table = pl.read_csv(tmp_path / "out" / "explanations.csv")
    assert table["error"].to_list() == [None] * 5 + ["not an image (text)"]
    text = overview.read_text("utf-8")
    assert "not explained: not an image (text)" in text
    assert "5 of 6 images explained" in text


def test_where_no_file_can_be_read_the_overview_is_written_and_it_is_an_error(run, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(SourceError, match="1 of 1 file could not be explained"):
        write(run, [tmp_path / "text.png"], tmp_path / "out")
    assert "0 of 1 image explained" in (tmp_path / "out" / "index.html").read_text("utf-8")


def test_an_image_without_a_finite_score_has_a_row_with_the_reason(
    run, files, tmp_path, monkeypatch
):
    bundle = diascope.load(run)
    for parameter in bundle.module.parameters():
        parameter.data.fill_(torch.nan)
    monkeypatch.setattr("diascope.steps.explain.open_bundle", lambda _model: bundle)
    monkeypatch.setattr(
        Explainer, "of", classmethod(lambda cls, bundle, method, _layer: cls(bundle, method, None))
    )
    with pytest.raises(SourceError, match="no finite score"):
        write(run, files, tmp_path / "out", methods=["occlusion"])
    with pytest.raises(RunError, match="no finite score for 5 of 5"):
        explain(run, files, methods=["occlusion"])


def test_images_of_any_size_and_kind_are_explained(run, tmp_path):
    rng = np.random.default_rng(5)
    folder = tmp_path / "odd"
    folder.mkdir()
    sizes = {"large.png": (300, 500, 3), "tiny.png": (2, 1, 3), "grey.png": (40, 40)}
    for name, shape in sizes.items():
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / name)
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    from_folder, _ = write(run, [folder], tmp_path / "a")
    from_zip, _ = write(run, [tmp_path / "odd.zip"], tmp_path / "b")
    assert from_folder.read_bytes() == from_zip.read_bytes()
    assert len(list((tmp_path / "a" / "images").iterdir())) == 3


def test_the_same_picture_under_two_names_is_explained_once(run, files, tmp_path):
    twin = shutil.copy(files[0], tmp_path / "twin.png")
    write(run, [files[0], twin], tmp_path / "out")
    pages = pl.read_csv(tmp_path / "out" / "explanations.csv")["page"]
    assert len(pages) == 2
    assert pages.n_unique() == 1


@pytest.mark.slow
def test_the_same_images_give_the_same_bytes(figures, run, files, tmp_path):
    write(run, files[:2], tmp_path / "a", methods=DEFAULTS)
    write(run, files[:2], tmp_path / "b", methods=DEFAULTS)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_pages_have_no_names_of_files_unless_asked(run, files, tmp_path):
    source = some(tmp_path, 8)
    write(run, [source], tmp_path / "out", methods=["grad-cam"])
    for name, content in contents(tmp_path / "out").items():
        is_table = name == "explanations.csv"
        assert (b"Zebulon" in content) == is_table, name
        assert "Zebulon" not in name
    overview, _ = write(run, [source], tmp_path / "out", methods=["grad-cam"], show_ids=True)
    assert "Zebulon000_cell_0.png" in overview.read_text("utf-8")


def test_markup_in_names_of_classes_and_files_is_only_shown(files, tmp_path):
    classes = ("<script>alert(1)</script>", 'b"><img src=x>')
    draw_bundle(classes, classes[1]).save(tmp_path / "hostile")
    named = shutil.copy(files[0], tmp_path / "<b>bold<b>.png")
    overview, _ = write(tmp_path / "hostile", [named], tmp_path / "out", show_ids=True)
    for page in (overview, *(tmp_path / "out").glob("images/*/index.html")):
        text = page.read_text("utf-8")
        assert "<script>alert" not in text
        assert "<img src=x>" not in text
        assert "<b>bold" not in text
    assert "&lt;b&gt;bold&lt;b&gt;" in overview.read_text("utf-8")


@pytest.mark.slow
def test_few_images_are_in_memory_at_once(run, tmp_path, monkeypatch):
    at_once, seen = [], []
    explain_images = ImageExplainer.explained

    def noted(self, images):
        at_once.append(len(images))
        return explain_images(self, images)

    monkeypatch.setattr(ImageExplainer, "explained", noted)
    write_explanations(
        run,
        [some(tmp_path, 36)],
        out=tmp_path / "out",
        methods=["grad-cam"],
        progress=lambda now: seen.append((now.stage, now.done, now.total)),
    )
    assert max(at_once) <= 16
    assert sum(at_once) == 36
    assert [done for stage, done, _ in seen if stage == "explaining"] == [16, 32, 36]


def test_an_image_out_of_distribution_is_withheld_on_its_page(evaluated, cells, tmp_path):
    bundle = diascope.load(evaluated)

    class Far:
        def scores(self, _features, images):
            return np.full(len(images), 1.5, np.float32)

    far = replace(bundle, ood=Far())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diascope.steps.explain.open_bundle", lambda _model: far)
        path = next(cells.rglob("*.png"))
        overview, _ = write(evaluated, [path], tmp_path / "out")
    page = (folder_of(tmp_path / "out", path) / "index.html").read_text("utf-8")
    assert '<h1 class="withheld">Prediction withheld</h1>' in page
    assert "OOD score 1.50, limit 1" in page
    assert " %</h1>" not in page
    assert 'class="bars"' not in page
    assert "this is no prediction" in page
    row = pl.read_csv(tmp_path / "out" / "explanations.csv").row(0, named=True)
    assert row["predicted"] is None
    assert row["probability"] is None
    assert row["refer_reason"] == "out of distribution: prediction withheld"
    assert "withheld</a>" in overview.read_text("utf-8")


def test_an_ensemble_is_explained_and_a_cross_validation_refused(
    ensemble, cross_validated, cells, tmp_path
):
    path = next(cells.rglob("*.png"))
    write(ensemble, [path], tmp_path / "out")
    page = (folder_of(tmp_path / "out", path) / "index.html").read_text("utf-8")
    assert "Layer network.stem.0 of the first member" in page
    with pytest.raises(RunError, match="yields no bundle"):
        explain(cross_validated, [path])


def test_predict_names_the_picture_and_the_verdict_of_each_image(run, files, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    paths = [*files, tmp_path / "text.png"]
    plain = predict(run, paths, out=tmp_path / "plain.csv")
    explained = predict(run, paths, out=tmp_path / "more.csv", explain=tmp_path / "out")
    table, more = pl.read_csv(plain), pl.read_csv(explained)
    assert more.columns == [*table.columns[:-1], "explanation", "map_verdict", "error"]
    assert more.drop("explanation", "map_verdict").equals(table)
    assert more["map_verdict"].to_list() == ["pass"] * 5 + [None]
    for picture in more["explanation"].head(5):
        assert Path(picture).is_file()
        assert picture.endswith("/hires-cam.png")
    assert more["explanation"][5] is None
    assert (tmp_path / "out" / "index.html").is_file()
    assert diascope.load(run).map_verdicts is not None


def test_verdicts_that_are_kept_do_not_depend_on_the_threshold_of_predict(
    run, files, tmp_path, judge
):
    predict(run, files, out=tmp_path / "low.csv", explain=tmp_path / "out", threshold=0.01)
    assert {one.threshold for one in judge.judged} == {diascope.load(run).card.threshold}
    assert diascope.load(run).card.threshold != 0.01


def test_the_table_of_predict_stays_as_it_was_without_explain(run, files, tmp_path):
    predict(run, files, out=tmp_path / "before.csv")
    predict(run, files, out=tmp_path / "with.csv", explain=tmp_path / "out")
    predict(run, files, out=tmp_path / "after.csv")
    before = (tmp_path / "before.csv").read_bytes()
    assert before == (tmp_path / "after.csv").read_bytes()
    assert b"explanation" not in before
