"""No text speaks of cells, stains or lesions to people whose images show something else."""

from __future__ import annotations

import ast
import html
import re
from pathlib import Path

import pytest
from drawn.run_folders import make_run

import diascope
from diascope.datasets.isic_tables import CLASSES
from diascope.steps.report import report
from diascope.system.plugins import find

ROOT = Path(diascope.__file__).parent
ROOMS = (
    *("cli", "steps", "reporting", "evaluation", "explanations"),
    *("training", "bundle", "audit", "metrics", "serving"),
)
# Words that only images of some kind have anything to do with.
CELL = r"cells?|smears?|blood|parasit\w*"
SKIN = r"skin|lesions?|dermato\w*|dermosc\w*|naev\w+|moles?|hairs?"
TISSUE = r"tissue|stain(?:s|ed|ing)?|slides?|scanners?|histo(?:log|path)\w*|biops\w+|nuclei"
OTHER = r"x-rays?|radiograph\w*|ct|mri|ultrasound|fundus|retina\w*"
ANY = re.compile(rf"\b({CELL}|{SKIN}|{TISSUE}|{OTHER})\b", re.IGNORECASE)
# Sentences that are about one kind of image because the kind was asked for, or because they are
# code: a corruption of stained images alone, a network of one paper, the demo's synthetic cells.
ALLOWED = (
    "each stain ±",
    "bright-field microscopy",
    "a published Keras system for the",
    "Optical density of haematoxylin",
)


def sentences_of(path: Path) -> list[str]:
    """Return the texts of a file that may be read by people: no docstring and no single word."""
    text = path.read_text("utf-8")
    if path.suffix == ".j2":
        outside = re.sub(r"{[{%#].*?[}%#]}", " ", text, flags=re.DOTALL)
        return [re.sub(r"<[^>]*>", " ", outside)]
    tree = ast.parse(text)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and " " in node.value.strip()
        and id(node) not in docstrings
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_no_sentence_of_the_code_is_about_one_kind_of_image(room):
    found = [
        f"{path.relative_to(ROOT)}: {sentence.strip()[:90]!r}"
        for path in sorted((ROOT / room).rglob("*"))
        if path.suffix in (".py", ".j2")
        for sentence in sentences_of(path)
        if ANY.search(sentence) and not any(one in sentence for one in ALLOWED)
    ]
    assert not found


FOREIGN = {
    "ham10000": rf"{CELL}|smears?|stain(?:s|ed|ing)?|slides?|scanners?|tissue",
    "breast_idc": rf"{CELL}|{SKIN}|smears?",
    "malaria": rf"{SKIN}|tissue|scanners?|histo(?:log|path)\w*|biops\w+",
}
OF_ITS_OWN = ("basal cell carcinoma",)  # names of classes


def words_of(text: str, data: str) -> str:
    """Return what is read on a page, without what its own data set says of itself."""
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", text, flags=re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]*>|data:[^\s\"]*", " ", text))
    text = " ".join(re.sub(r"\\(.)", r"\1", text).split())
    for own in OF_ITS_OWN:
        text = text.replace(own, " ")
    card = find("datasets", data).card
    for own in (card.title, card.citation, *(one.text for one in card.story.values())):
        text = text.replace(" ".join(own.split()), " ")
    return text


@pytest.mark.parametrize(
    ("data", "classes"),
    [
        ("ham10000", CLASSES),
        ("breast_idc", ("0", "1")),
        ("malaria", ("uninfected", "parasitized")),
    ],
)
def test_a_report_has_no_word_of_another_kind_of_image(tmp_path, data, classes):
    run = make_run(tmp_path, classes=classes, data=data)
    page = report(run)
    texts = {path.name: path.read_text("utf-8") for path in run.rglob("*.md")}
    texts[page.name] = page.read_text("utf-8")
    assert {"README.md", "data_card.md", "report.html"} <= set(texts)
    for name, text in texts.items():
        read = words_of(text, data)
        assert len(read) > 1000
        for found in re.finditer(rf"\b({FOREIGN[data]})\b", read, re.IGNORECASE):
            around = read[max(0, found.start() - 60) : found.end() + 60]
            pytest.fail(f"{name}: ...{around}...")
