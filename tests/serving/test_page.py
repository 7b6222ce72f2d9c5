"""The page says what the bundle says, shows nothing that is withheld, and is safe to show."""

from __future__ import annotations

import html
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from drawn.run_folders import BINARY, bundle
from drawn.served import encoded, grey, noise, with_cases, with_detector, with_sets_and_verdicts
from PIL import Image
from starlette.testclient import TestClient

from diascope.bundle.image_files import read_or_reason
from diascope.bundle.prediction import predict_each
from diascope.serving.asgi import Servable, app
from diascope.serving.limits import Limits
from diascope.serving.page.bars import bars
from diascope.serving.page.model_card import html_of
from diascope.serving.page.static_files import NAMES, url_of

CLASSES = ("<i>alpha", "beta & co", "gamma")
TOKEN = "a-long-enough-token"  # noqa: S105 - of a test
CARD = (
    "---\nlicense: x\n---\n# Card of <script>one</script>\n\n[bad](javascript:alert(1)) **bold**\n"
)


@pytest.fixture(scope="module")
def network():
    return with_cases(with_detector(with_sets_and_verdicts(bundle(BINARY, BINARY[1]))))


@pytest.fixture(scope="module")
def client(network):
    several = [
        Servable("cells", network, CARD),
        Servable("three", with_sets_of_three(bundle(CLASSES, None))),
    ]
    with TestClient(app(several), raise_server_exceptions=False) as found:
        yield found


def with_sets_of_three(bare):
    card = bare.card.model_copy(update={"class_titles": {"gamma": "<b>Gamma"}})
    return replace(bare, card=card)


def ask(client, path, content, **query):
    headers = {"Content-Type": "application/octet-stream"}
    return client.post(f"/page/{path}", content=content, headers=headers, params=query)


def said_in(fragment):
    """Return an article without its row for the table and without the facts for paper."""
    said = re.sub(r'data-row="[^"]*"', "", fragment).split('<dl class="facts">')[0]
    return html.unescape(said)


def row_of(fragment):
    return json.loads(html.unescape(re.search(r'data-row="([^"]*)"', fragment)[1]))


def test_the_page_says_what_it_is_and_what_it_is_not_for(client, network):
    page = client.get("/").text
    assert "Research software, not a medical device." in page
    assert network.card.intended_use in page
    assert 'href="/models/cells/card"' in page
    assert network.card.digest in page
    assert "sensitivity of at least 0.95" in page
    assert "<i>alpha" not in page
    assert "&lt;i&gt;alpha" in page
    assert 'name="model"' in page


def test_the_page_says_whether_images_are_stored(client, network, tmp_path):
    assert "Images stay on the server only until they are answered" in client.get("/").text
    with TestClient(app(network, keep=tmp_path)) as keeping:
        page = keeping.get("/").text
        assert "This server stores the images" in page
        assert "only until" not in page


def test_nothing_of_the_page_stands_in_the_description_of_the_interface(client):
    paths = client.get("/v1/openapi.json").json()["paths"]
    assert "/v1/predict" in paths
    assert not {path for path in paths if path == "/" or path.startswith(("/page", "/models"))}


def test_no_page_has_a_style_or_script_inside(client):
    pages = [
        client.get("/").text,
        client.get("/models/cells/card").text,
        client.get("/models/three/card").text,
        client.get("/sign-in").text,
        ask(client, "predict", grey(0)).text,
        ask(client, "explain", grey(0)).text,
        ask(client, "details", grey(0)).text,
        client.post("/", files=[("image", ("a.png", grey(0)))]).text,
    ]
    for page in pages:
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=|<script(?! type=\"module\" src)", page)
        assert not re.search(r"(src|href|action)=\"(https?:)?//", page)


def test_the_page_gives_the_probabilities_of_the_bundle_to_the_last_digit(client, network):
    for seed in range(5):
        row = row_of(ask(client, "predict", grey(seed)).text)
        image = read_or_reason(
            lambda content, pixels: pixels.read(content),
            network.card.pixels,
            lambda seed=seed: grey(seed),
        )
        expected = predict_each(network, np.stack([image]))[0].probabilities
        shown = np.array([float(row["probabilities"][name]) for name in network.classes])
        assert (shown == expected).all()


def test_a_result_has_words_a_bar_with_the_threshold_and_the_set(client, network):
    answer = ask(client, "predict", grey(0))
    assert answer.status_code == 200
    assert "calibrated probability" in answer.text
    assert "predicted from 31\xa0%" in html.unescape(answer.text)
    assert 'x1="31.00%"' in answer.text
    assert "Prediction set:" in answer.text
    assert "Refer to a person:" in answer.text
    row = row_of(answer.text)
    assert row["set"] == list(BINARY)
    assert row["refer"]
    assert row["digest"] == network.card.digest
    assert len(row["sha256"]) == 64


def test_what_is_withheld_shows_no_probability_and_no_heat_map(client):
    answer = ask(client, "predict", noise(0))
    text = said_in(answer.text)
    assert "I don't know: this image is unlike those the network was trained on." in text
    assert "probability of" not in text
    assert 'class="bar"' not in text
    assert "called" not in text
    row = row_of(answer.text)
    assert row["decision"] == "withheld"
    assert row["probability"] is row["probabilities"] is row["set"] is None
    assert float(row["ood_score"]) > 1
    page = client.post("/", files=[("image", ("a.png", noise(0)))]).text
    assert "I don" in page
    assert 'class="stack"' not in page


def test_a_heat_map_of_a_method_that_failed_is_grey_and_says_so(client):
    passing = ask(client, "explain", grey(0)).text
    assert 'class="chip pass">tested: passes' in passing
    assert "HiResCAM" in passing
    assert "It changes, as it must." in passing
    failing = ask(client, "explain", grey(0), method="grad-cam").text
    assert 'class="chip fail">tested: fails' in failing
    scales = [re.search(r'class="scale" src="([^"]*)"', one)[1] for one in (passing, failing)]
    assert scales[0] != scales[1]


def test_a_heat_map_explains_the_class_that_was_asked_for(client, network):
    predicted = row_of(ask(client, "predict", grey(0)).text)["decision"]
    other = next(name for name in network.classes if name != predicted)
    found = ask(client, "explain", grey(0), target=other).text
    assert f"evidence for {other}</h4>" in found
    assert "is not the predicted class" in found


@pytest.mark.parametrize("query", [{"method": "magic"}, {"target": "<x>"}, {"model": "<x>"}])
def test_a_wrong_choice_is_refused_in_a_card(client, query):
    answer = ask(client, "explain", grey(0), **query)
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"].startswith("text/html")
    assert 'class="result error"' in answer.text
    assert "<x>" not in answer.text


def test_details_have_the_maps_of_every_stage(client):
    found = ask(client, "details", grey(0)).text
    assert "First convolution" in found
    assert "Stage 1" in found
    assert found.count("<img") > 40


def test_details_begin_with_the_training_cases_that_are_most_alike(client, network):
    content = encoded(Image.fromarray(network.cases.training_images[7]))
    found = html.unescape(ask(client, "details", content).text)
    assert found.index("Similar training cases") < found.index("Feature maps")
    first = re.search(r"<strong>(.*?)</strong><span[^>]*>distance (.*?)<", found)
    assert first.groups() == (network.classes[network.cases.training_labels[7]], "0.0000")
    assert "typically 0.0100 from the nearest of another patient" in found
    assert "Similar training cases" not in ask(client, "details", content, model="three").text


def test_examples_can_be_tried_with_and_without_javascript(client, network):
    page = client.get("/").text
    assert page.count("data-example=") == len(network.cases.example_images) == 4
    answer = client.get("/models/cells/examples/2.png")
    assert answer.headers["content-type"] == "image/png"
    shown = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert (shown == network.cases.example_images[2]).all()
    found = client.get("/", params={"model": "cells", "example": "2"}).text
    assert found.count('class="stack"') == 1
    for number in ("4", "-1", "x", "²", "9" * 40):
        assert client.get(f"/models/cells/examples/{number}.png").status_code == 404
    assert client.get("/", params={"example": "<b>"}).status_code == 404
    assert client.get("/models/three/examples/0.png").status_code == 404


def test_a_file_that_is_no_image_is_one_card_and_the_others_are_answered(client):
    files = [("image", ("../../<b>x.png", one)) for one in (grey(0), b"%PDF-1.4", grey(1))]
    answer = client.post("/", files=files)
    assert answer.status_code == 200
    assert answer.text.count('class="result error"') == 1 + 1  # and the template of the script
    assert answer.text.count('class="stack"') == 2
    assert "x.png" not in answer.text
    assert "Image 3" in answer.text


@pytest.mark.parametrize("path", ["/", "/page/predict"])
def test_a_file_over_the_limit_is_refused_in_words(network, path):
    with TestClient(app(network, limits=Limits(file_bytes=1000))) as client:
        answer = client.post(path, files=[("image", ("a.png", b"x" * 2000))])
        assert answer.status_code == 413
        assert "1,000 bytes" in answer.text
        assert answer.headers["content-type"].startswith("text/html")


def test_a_busy_server_says_when_to_come_again(network):
    with TestClient(app(network, limits=Limits(waiting_images=0))) as client:
        answer = ask(client, "predict", grey(0))
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert "busy" in answer.text


def test_several_classes_are_escaped_and_sorted_by_their_probability(client):
    answer = ask(client, "predict", grey(0), model="three").text
    row = row_of(answer)
    assert set(row["probabilities"]) == {"<i>alpha", "beta & co", "<b>Gamma"}
    assert "<i>" not in answer
    assert "<b>" not in answer
    shown = [float(one) for one in re.findall(r'class="value[^"]*"[^>]*width="([\d.]+)%"', answer)]
    assert len(shown) == 3
    assert shown == sorted(shown, reverse=True)


def test_the_mark_of_a_threshold_stays_inside_the_bar(network):
    prediction = predict_each(replace(network, ood=None), np.full((1, 32, 32, 3), 120, np.uint8))[0]
    anchors = {}
    for threshold in (0.001, 0.5, 0.999):
        card = network.card.model_copy(update={"threshold": threshold})
        mark = next(one["mark"] for one in bars(prediction, card) if one["mark"])
        anchors[threshold] = mark["anchor"]
    assert anchors == {0.001: "start", 0.5: "middle", 0.999: "end"}


def test_a_model_card_is_shown_without_its_front_matter_and_without_html(client):
    page = client.get("/models/cells/card").text
    assert "license: x" not in page
    assert "<h1>Card of &lt;script&gt;one&lt;/script&gt;</h1>" in page
    assert "<strong>bold</strong>" in page
    assert 'href="javascript' not in page


def test_without_a_model_card_the_page_tells_what_card_json_tells(client):
    page = html.unescape(client.get("/models/three/card").text)
    for text in ("<i>alpha", "CC0", "33.3%", "not calibrated", "32 px", "Not a medical device"):
        assert text in page
    assert client.get("/models/none/card").status_code == 404


def test_pictures_in_a_model_card_are_not_loaded():
    assert "<img" not in html_of("![x](https://example.org/x.png)")


def test_static_files_are_kept_for_ever_under_their_digest(client):
    for name in NAMES:
        answer = client.get(f"/{url_of(name)}")
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        again = client.get(f"/static/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        assert again.headers["cache-control"] == "no-cache"
    assert client.get("/static/routes.py").status_code == 404
    assert client.get("/static/..%2Froutes.py").status_code == 404


def test_pages_are_not_stored(client):
    for path in ("/", "/models/cells/card"):
        assert client.get(path).headers["cache-control"] == "no-store"


def test_the_sign_in_page_asks_again_in_words(network):
    with TestClient(app(network, token=TOKEN)) as client:
        page = client.get("/")
        assert page.url.path == "/sign-in"
        assert 'name="token"' in page.text
        form = {"token": "wrong-token-wrong", "next": "/"}
        assert "token is wrong" in client.post("/sign-in", data=form).text
        signed_in = client.post("/sign-in", data={**form, "token": TOKEN})
        assert signed_in.url.path == "/"
        assert "Sign out" in signed_in.text
        assert ask(client, "predict", grey(0)).status_code == 200
        path = client.get("/sign-in?next=//evil.example/").text
        assert 'name="next" value="/"' in path
