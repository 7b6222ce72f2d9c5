"""The page in a real browser: what a doctor does with it, and what may never happen.

Every test fails if the browser asks anything of another origin, or writes an error to its console.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from drawn.run_folders import BINARY, bundle
from drawn.served import (
    Serving,
    grey,
    noise,
    serving,
    with_cases,
    with_detector,
    with_sets_and_verdicts,
)

from diascope.bundle.image_files import read_or_reason
from diascope.bundle.prediction import predict_each
from diascope.serving.asgi import Servable, app
from diascope.serving.limits import Limits

pytestmark = pytest.mark.slow
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
TOKEN = "a-long-enough-token"  # noqa: S105 - of a test
SIZES = {"wide": {"width": 1180, "height": 900}, "narrow": {"width": 360, "height": 740}}
Files = list[dict[str, object]]


@dataclass
class Visit:
    """A page that was opened, and what the browser did meanwhile."""

    page: sync_api.Page
    url: str
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def send(self, *files: dict[str, object]) -> None:
        self.page.set_input_files("input[type=file]", list(files))

    def results(self, number: int) -> sync_api.Locator:
        """Wait until so many images are answered; return their articles."""
        found = self.page.locator("#results .result[data-row]")
        sync_api.expect(found).to_have_count(number, timeout=120_000)
        return found

    def heat_map(self, number: int = 1) -> sync_api.Locator:
        """Return the heat map of an image, when it is there."""
        self.page.locator(f"#image-{number}[data-row]").scroll_into_view_if_needed()
        found = self.page.locator(f"#image-{number} .heat")
        found.wait_for(timeout=120_000)
        return found

    def table(self) -> list[list[str]]:
        rows = self.page.locator("#rows tr").all()
        return [row.locator("td").all_inner_texts() for row in rows]


def picture(name: str, content: bytes, kind: str = "image/png") -> dict[str, object]:
    return {"name": name, "mimeType": kind, "buffer": content}


@pytest.fixture(scope="module")
def network():
    return with_cases(with_detector(with_sets_and_verdicts(bundle(BINARY, BINARY[1]))))


@pytest.fixture(scope="module")
def served(network) -> Iterator[Serving]:
    card = "# The card\n\n| metric | value |\n| --- | ---: |\n| AUROC | 0.9 |\n"
    three = bundle(("alpha", "beta", "gamma"), None)
    application = app([Servable("cells", network, card), Servable("three", three)])
    with serving(application) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture
def visit(browser, served) -> Iterator[Callable[..., Visit]]:
    """Return a function that opens the page; at the end nothing may have gone wrong."""
    visits: list[Visit] = []

    def open_page(path: str = "/", *, url: str = served.url, size: str = "wide", **options):
        context = browser.new_context(viewport=SIZES[size], **options)
        context.set_default_timeout(60_000)
        if AXE.is_file():
            context.add_init_script(path=AXE)
        found = Visit(context.new_page(), url)

        def let_through(route: sync_api.Route) -> None:
            if route.request.url.startswith(f"{url}/"):
                route.continue_()
            else:
                found.outside.append(route.request.url)
                route.abort()

        context.route("**/*", let_through)
        found.page.on("console", lambda said: found.errors.append(f"{said.type}: {said.text}"))
        found.page.on("pageerror", lambda error: found.errors.append(str(error)))
        found.page.goto(f"{url}{path}")
        visits.append(found)
        return found

    yield open_page
    for one in visits:
        assert one.outside == []
        assert one.errors == []
        one.page.context.close()


def barriers(page: sync_api.Page) -> list[str]:
    """Return what axe-core finds."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: `npm ci --prefix tests/serving`")
    found = page.evaluate("axe.run()")["violations"]
    return [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


def drop(page: sync_api.Page, files: Files) -> None:
    """Drop files on the page, as a file manager does."""
    given = [
        [one["name"], base64.b64encode(one["buffer"]).decode(), one["mimeType"]] for one in files
    ]
    transfer = page.evaluate_handle(
        """(files) => {
            const transfer = new DataTransfer();
            for (const [name, content, type] of files) {
                const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
                transfer.items.add(new File([bytes], name, { type }));
            }
            return transfer;
        }""",
        given,
    )
    for kind in ("dragenter", "dragover", "drop"):
        page.dispatch_event("body", kind, {"dataTransfer": transfer})


def test_images_that_are_dropped_are_answered_in_their_order(visit, network):
    here = visit()
    names = [f"cell {number}.png" for number in range(5)]
    drop(here.page, [picture(name, grey(seed)) for seed, name in enumerate(names)])
    results = here.results(5)
    assert [row[:2] for row in here.table()] == [
        [str(number), name] for number, name in enumerate(names, 1)
    ]
    for seed in range(5):
        image = read_or_reason(
            lambda content, pixels: pixels.read(content),
            network.card.pixels,
            lambda seed=seed: grey(seed),
        )
        called = network.classes[predict_each(network, np.stack([image]))[0].predicted]
        assert results.nth(seed).locator("h3").inner_text().startswith(f"{called}, ")
    assert here.page.locator("#said").inner_text().startswith("Image ")


def test_an_image_is_pasted(visit):
    here = visit()
    here.page.evaluate(
        """(content) => {
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([bytes], "image.png", { type: "image/png" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
        }""",
        base64.b64encode(grey(0)).decode(),
    )
    here.results(1)


def test_the_heat_map_follows_the_slider_by_keyboard(visit):
    here = visit()
    here.send(picture("a.png", grey(0)))
    heat = here.heat_map()
    slider, layer = heat.get_by_label("Opacity"), heat.locator(".layer")
    opacity = "element => Number(getComputedStyle(element).opacity)"
    assert layer.evaluate(opacity) == pytest.approx(0.85)
    slider.focus()
    here.page.keyboard.press("ArrowLeft")
    assert layer.evaluate(opacity) == pytest.approx(0.8)
    here.page.keyboard.press("Home")
    assert layer.evaluate(opacity) == 0
    places = heat.locator(".stack img").evaluate_all(
        "all => all.map((one) => JSON.stringify(one.getBoundingClientRect()))"
    )
    assert places[0] == places[1]


def test_another_method_and_class_can_be_asked_for(visit):
    here = visit()
    here.send(picture("a.png", grey(0)))
    heat = here.heat_map()
    assert heat.locator(".chip").first.inner_text() == "tested: passes"
    heat.get_by_role("combobox", name="Method").focus()
    heat.get_by_role("combobox", name="Method").select_option("grad-cam")
    sync_api.expect(here.page.locator(".heat-words .verdict")).to_contain_text("tested: fails")
    sync_api.expect(here.page.get_by_role("combobox", name="Method")).to_be_focused()
    here.page.get_by_role("combobox", name="Class").select_option("parasitized")
    sync_api.expect(here.page.locator(".heat h4")).to_contain_text("evidence for parasitized")
    assert here.page.get_by_role("combobox", name="Method").input_value() == "grad-cam"


def test_what_the_network_does_not_know_is_said_to_be_unknown(visit):
    here = visit()
    here.send(picture("holiday.png", noise(0)))
    article = here.results(1)
    assert article.locator("h3").inner_text().startswith("I don't know: this image is unlike")
    assert article.locator(".bars").count() == 0
    assert article.locator(".heat").count() == 0
    assert here.table()[0][2:4] == ["withheld", "-"]
    article.get_by_role("button", name="Show a heat map all the same").click()
    sync_api.expect(article.locator(".heat")).to_contain_text("and is no prediction")


def test_a_file_that_is_no_image_gets_a_card_and_the_others_go_on(visit):
    here = visit()
    here.send(
        picture("a.png", grey(0)),
        picture("<img src=x onerror=alert(1)>.pdf", b"%PDF-1.4", "application/pdf"),
        picture("empty.png", b""),
        picture("b.png", grey(1)),
    )
    results = here.results(4)
    assert here.page.locator("#results .error").count() == 2
    assert results.nth(1).locator(".which").inner_text() == (
        "Image 2: <img src=x onerror=alert(1)>.pdf"
    )
    assert "picture" in results.nth(1).locator(".do").inner_text()
    assert [row[2] for row in here.table()][1:3] == ["not answered"] * 2
    results.nth(1).get_by_role("button", name="Remove").click()
    here.results(3)


def test_feature_maps_come_when_they_are_opened(visit):
    here = visit()
    here.send(picture("a.png", grey(0)))
    here.results(1)
    assert here.page.locator(".tiles").count() == 0
    here.page.locator(".more summary").click()
    here.page.locator(".tiles").first.wait_for()
    assert here.page.locator(".tiles img").count() > 40


def test_an_example_is_tried(visit):
    here = visit()
    here.page.get_by_role("link", name="Example 2").click()
    here.results(1)
    assert here.table()[0][1] == "example 2 (parasitized)"
    here.page.locator(".more summary").click()
    here.page.locator(".cases").first.wait_for()
    assert here.page.locator(".cases li").count() == 6


def test_everything_can_be_done_with_the_keyboard(visit):
    here = visit()
    press, focused = here.page.keyboard.press, here.page.locator(":focus")
    press("Tab")
    assert focused.inner_text() == "Skip to the content"
    press("Enter")
    seen = []
    for _ in range(6):
        press("Tab")
        seen.append(focused.evaluate("one => one.name || one.id || one.textContent.trim()"))
        if seen[-1] == "image":
            break
    assert seen[-2:] == ["model", "image"]
    with here.page.expect_file_chooser() as chooser:
        press("Space")
    chooser.value.set_files([picture("a.png", grey(0)), picture("b.png", grey(1))])
    here.results(2)
    here.heat_map()
    stops = []
    for _ in range(40):
        press("Tab")
        stops.append(focused.evaluate("one => one.textContent.trim() || one.type || ''"))
        box = focused.evaluate("one => getComputedStyle(one).outlineStyle")
        assert box == "solid" or stops[-1] in ("", "file")
        if stops[-1].endswith("feature maps"):
            break
    wanted = ["Download CSV", "Clear all", "No.", "a.png", "Print or save as PDF", "range"]
    places = [stops.index(one) for one in wanted]
    assert places == sorted(places)
    press("Enter")
    here.page.locator(".tiles").first.wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_no_barriers_and_no_scrolling_sideways(visit, size, theme):
    here = visit(size=size, color_scheme=theme)
    width = "document.documentElement.scrollWidth"
    assert here.page.evaluate(width) == SIZES[size]["width"]
    assert barriers(here.page) == []
    name = "a-very-long-name-without-a-blank-" * 5
    here.send(
        picture(f"{name}.png", grey(0)), picture("b.png", noise(0)), picture("c.txt", b"no image")
    )
    here.results(3)
    here.heat_map()
    here.page.locator(".more summary").first.click()
    here.page.locator(".tiles").first.wait_for()
    assert here.page.evaluate(width) == SIZES[size]["width"]
    assert barriers(here.page) == []
    ground = here.page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(one) for one in ground.strip("rgb()").split(","))
    assert (brightness > 600) == (theme == "light")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/models/cells/card", "/models/three/card", "/sign-in"])
def test_other_pages_have_no_barriers(visit, path, theme):
    here = visit(path, size="narrow", color_scheme=theme)
    assert barriers(here.page) == []
    assert here.page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_reload_leaves_nothing(visit):
    here = visit()
    here.send(picture("a.png", grey(0)))
    here.results(1)
    here.page.reload()
    assert here.page.locator("#results .result").count() == 0
    assert here.page.locator("#session").is_hidden()
    assert here.page.evaluate("localStorage.length + sessionStorage.length") == 0
    assert here.page.context.cookies() == []
    assert here.page.evaluate("indexedDB.databases()") == []


def test_names_of_files_are_never_sent(visit):
    here = visit()
    sent = []
    here.page.on("request", lambda one: sent.append((one.url, one.headers, one.post_data_buffer)))
    here.send(picture("Zebulon Quill.png", grey(0)))
    here.results(1)
    here.heat_map()
    assert len(sent) >= 2
    assert "Zebulon" not in repr(sent)


def test_the_table_is_sorted_by_its_heads(visit):
    here = visit()
    here.send(*(picture(f"{name}.png", grey(seed)) for seed, name in enumerate("cab")))
    here.results(3)
    head = here.page.get_by_role("columnheader", name="image")
    head.get_by_role("button").click()
    assert [row[1] for row in here.table()] == ["a.png", "b.png", "c.png"]
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").click()
    assert [row[1] for row in here.table()] == ["c.png", "b.png", "a.png"]
    assert head.get_attribute("aria-sort") == "descending"
    assert here.page.locator("th[aria-sort]").count() == 1


def test_the_csv_has_all_digits_and_no_formulas(visit, network):
    here = visit()
    names = ["=1+1.png", 'a "quoted", name.png', "-2.png", "plain.png", "x.pdf"]
    contents = [grey(0), grey(1), noise(0), grey(2), b"%PDF-1.4"]
    here.send(*(picture(*one) for one in zip(names, contents, strict=True)))
    results = here.results(5)
    with here.page.expect_download() as download:
        here.page.get_by_role("button", name="Download CSV").click()
    text = download.value.path().read_text("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["image"] for row in rows] == [f"'{names[0]}", names[1], f"'{names[2]}", *names[3:]]
    for number in range(2):
        row, given = rows[number], json.loads(results.nth(number).get_attribute("data-row"))
        shown = {name: row[f"probability {name}"] for name in BINARY}
        assert shown == given["probabilities"]  # letter by letter, as the server gave them
        image = read_or_reason(
            lambda content, pixels: pixels.read(content),
            network.card.pixels,
            lambda number=number: contents[number],
        )
        expected = predict_each(network, np.stack([image]))[0].probabilities
        # Images that are scored together may differ in the last digits.
        assert [float(shown[name]) for name in BINARY] == pytest.approx(expected, abs=1e-6)
        assert row["model_digest"] == network.card.digest
    assert rows[2]["decision"] == "withheld"
    assert rows[2][f"probability {BINARY[0]}"] == ""
    assert rows[4]["error"] == "not an image of a known format"


def test_one_result_is_printed_alone_with_all_that_it_rests_on(visit, network):
    here = visit()
    here.page.evaluate("window.print = () => { window.wasPrinted = true; }")
    here.send(picture("a.png", grey(0)), picture("b.png", grey(1)))
    results = here.results(2)
    here.heat_map(2)
    results.nth(1).get_by_role("button", name="Print").click()
    assert here.page.evaluate("window.wasPrinted")
    here.page.emulate_media(media="print")
    assert results.nth(0).is_hidden()
    assert here.page.locator("#session").is_hidden()
    assert here.page.locator("#send").is_hidden()
    facts = results.nth(1).locator(".facts").inner_text()
    for text in (network.card.digest, network.card.intended_use, "sensitivity", "UTC", "cells"):
        assert text in facts
    assert here.page.pdf(format="A4").startswith(b"%PDF")
    here.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert results.nth(0).is_visible()


def test_without_javascript_the_form_answers(visit):
    here = visit(java_script_enabled=False)
    here.page.set_input_files(
        "input[type=file]", [picture("a.png", grey(0)), picture("b.png", noise(0))]
    )
    here.page.get_by_role("button", name="Send").click()
    results = here.results(2)
    assert results.nth(0).locator(".stack").is_visible()
    results.nth(0).locator(".slider").wait_for(state="hidden")  # once the style sheet is there
    assert results.nth(1).locator("h3").inner_text().startswith("I don't know")
    assert here.page.get_by_role("button", name="Remove").count() == 0


def test_whoever_has_the_token_signs_in_and_out(visit, network):
    with serving(app(network, token=TOKEN)) as closed:
        here = visit(url=closed.url)
        here.page.get_by_label("Token").fill("something-else-altogether")
        here.page.keyboard.press("Enter")
        sync_api.expect(here.page.get_by_role("alert")).to_contain_text("token is wrong")
        assert barriers(here.page) == []
        here.page.get_by_label("Token").fill(TOKEN)
        here.page.keyboard.press("Enter")
        here.page.locator("#send").wait_for()
        here.send(picture("a.png", grey(0)))
        here.results(1)
        here.page.context.clear_cookies()
        here.send(picture("b.png", grey(1)))
        sync_api.expect(here.page.locator("#unreachable")).to_contain_text("not signed in")
        here.results(1)
        here.errors.clear()  # the browser notes the 401


def test_a_model_is_chosen_among_several(visit):
    here = visit()
    assert here.page.get_by_role("link", name="Model card").count() == 1
    here.page.get_by_role("combobox", name="Model").select_option("three")
    assert here.page.locator("h1:visible").inner_text() == "three"
    here.send(picture("a.png", grey(0)))
    assert here.results(1).locator(".bars li").count() == 3
    with here.page.expect_popup() as card:
        here.page.get_by_role("link", name="Model card").click()
    assert "no other model card" in card.value.locator("main").inner_text()


def test_what_waits_is_cancelled_and_all_is_cleared(visit):
    here = visit()
    here.send(*(picture(f"{seed}.png", grey(seed)) for seed in range(40)))
    here.page.locator("#results .result[data-row]").first.wait_for()
    here.page.get_by_role("button", name="Cancel").click()
    sync_api.expect(here.page.locator("#progress")).to_be_hidden()
    n_results = here.page.locator("#results .result").count()
    assert 0 < n_results < 40
    assert len(here.table()) == n_results
    here.errors.clear()  # a request that is cancelled may be noted
    here.page.get_by_role("button", name="Clear all").click()
    assert here.page.locator("#results .result").count() == 0
    assert here.page.locator("#session").is_hidden()
    here.send(picture("a.png", grey(0)))
    here.results(1)


def test_a_server_that_is_gone_is_named_and_asked_again(visit, network):
    with serving(app(network)) as gone:
        here = visit(url=gone.url)
        here.send(picture("a.png", grey(0)))
        here.results(1)
        here.heat_map()
        gone.stop()
        here.send(picture("b.png", grey(1)))
        banner = here.page.locator("#unreachable")
        sync_api.expect(banner).to_contain_text("cannot be reached")
        here.results(1)
        gone.start()
        banner.get_by_role("button", name="Try again").click()
        here.results(2)
        assert banner.is_hidden()
        here.errors.clear()  # the browser notes what did not connect


def test_a_busy_server_is_asked_until_it_answers(visit, network):
    with serving(app(network, limits=Limits(waiting_images=1))) as busy:
        here = visit(url=busy.url)
        here.send(*(picture(f"{seed}.png", grey(seed)) for seed in range(6)))
        here.results(6)
        assert here.page.locator("#results .error").count() == 0
        here.errors.clear()  # the browser notes each 503
