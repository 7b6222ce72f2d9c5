"""What a network is, was tested on and is not for: its model card as a page."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markupsafe import Markup

from diascope.bundle.card import Card
from diascope.reporting.cards.markdown import bullets, table, words
from diascope.reporting.cards.model_card import thresholds
from diascope.serving.page.render import fill
from diascope.serving.page.static_files import url_of
from diascope.serving.service import ServedModel
from diascope.system.words import counted

FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
RIGHT = "text-align:right"


def render_model_card(model: ServedModel, *, root: str) -> str:
    """Return the model card as a page; from ``card.json`` where there is no other."""
    text = FRONT_MATTER.sub("", model.model_card) or card_in_markdown(model.card)
    return fill(
        "model_card.html.j2",
        root=root,
        url_of=url_of,
        name=model.name,
        digest=model.card.digest,
        content=html_of(text),
    )


def html_of(text: str) -> Markup:
    """Return Markdown as HTML; HTML in it stays text, and no picture is loaded.

    Examples
    --------
    >>> print(html_of("a *b* <script>"), end="")
    <p>a <em>b</em> &lt;script&gt;</p>
    """
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = markdown.parse(text)
    for token in tokens:
        if token.attrs.pop("style", "") == RIGHT:  # the page may have no styles inside
            token.attrs["class"] = "n"
    html = markdown.renderer.render(tokens, markdown.options, {})
    html = html.replace("<table>", '<div class="scroll" tabindex="0"><table>')
    html = html.replace("</table>", "</table></div>")
    return Markup(html)  # noqa: S704 - markdown-it escapes what is not its own


def card_in_markdown(card: Card) -> str:
    """Return what ``card.json`` tells of a network."""
    titles = [card.title_of(name) for name in card.classes]
    sets = card.prediction_sets
    return "\n\n".join(
        [
            f"# {words(card.model)} on {words(card.data)}",
            "## Intended use",
            f"**{words(card.intended_use)}**",
            "The bundle has no other model card: what follows is read from its `card.json`, and "
            "there are no results of tests here.",
            "## Classes",
            table(
                ("class", "share in training"),
                [(title, f"{share:.1%}") for title, share in zip(titles, card.prior, strict=True)],
            ),
            "Probabilities refer to these shares.",
            "## Data",
            bullets(
                (
                    f"Trained on {card.data}, split by {card.group_kind}.",
                    f"Licence of the images: {card.licence}.",
                    f"Images of any size are brought to {card.size_px} px ({card.fit}).",
                    f"SHA-256 of the training images: {card.data_sha256}.",
                )
            ),
            "## Decision",
            thresholds(card),
            bullets(
                (
                    f"Calibrated on {counted(card.n_calibrated, 'image')}."
                    if card.n_calibrated
                    else "The probabilities are not calibrated.",
                    f"There are no prediction sets: {card.why_no_sets}."
                    if sets is None
                    else f"Prediction sets contain the true class in {sets.coverage:.0%} of "
                    f"{card.group_kind}s' images or more, on average.",
                    "Images that are out of distribution are recognised."
                    if card.ood_sha256
                    else "Images that are out of distribution cannot be recognised.",
                )
            ),
        ]
    )
