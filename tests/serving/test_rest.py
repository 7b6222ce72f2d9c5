"""The REST interface answers as the bundle does, and refuses in words."""

from __future__ import annotations

import base64
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from drawn.run_folders import BINARY, bundle
from drawn.served import with_detector
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from diascope.serving.asgi import Servable, app
from diascope.serving.limits import Limits
from diascope.steps.predict import predict as predict_to_table


@pytest.fixture(scope="module")
def network():
    return bundle(BINARY, BINARY[1])


@pytest.fixture(scope="module")
def client(network):
    several = {"first": network, "second": with_detector(network)}
    with TestClient(app(several), raise_server_exceptions=False) as found:
        yield found


def encoded(image, kind="png", **how):
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def noise(seed, mode="RGB", size=(40, 30)):
    n_bytes = size[0] * size[1] * {"RGB": 3, "RGBA": 4, "L": 1}[mode]
    return Image.frombytes(mode, size, np.random.default_rng(seed).bytes(n_bytes))


def deep(seed):
    values = np.random.default_rng(seed).integers(0, 65536, (30, 40)).astype(np.uint16)
    return Image.fromarray(values)


def turned_jpeg(seed):
    exif = Image.Exif()
    exif[274] = 6
    return encoded(noise(seed), "jpeg", exif=exif)


FILES = {
    "colours.png": encoded(noise(0)),
    "alpha.png": encoded(noise(1, "RGBA")),
    "grey.png": encoded(noise(2, "L")),
    "palette.png": encoded(noise(3).quantize(20)),
    "turned.jpg": turned_jpeg(4),
    "deep.png": encoded(deep(6)),
    "picture.tif": encoded(noise(5), "tiff"),
}


def form(contents):
    return [("image", ("../../<script>.png", content, "image/png")) for content in contents]


@pytest.mark.parametrize("name", FILES)
def test_one_image_has_the_probabilities_of_python_to_the_last_digit(
    client, network, name, tmp_path
):
    (tmp_path / name).write_bytes(FILES[name])
    expected = network.predict_proba(tmp_path / name)[0]
    raw = client.post("/v1/predict", content=FILES[name], headers={"Content-Type": "image/png"})
    posted = client.post("/v1/predict", files=form([FILES[name]]))
    assert raw.json() == posted.json()
    (one,) = raw.json()["predictions"]
    assert list(one["probabilities"].values()) == expected.tolist()
    assert one["predicted"] == BINARY[int(network.decide(expected[np.newaxis])[0])]
    assert one["sha256"] == hashlib.sha256(FILES[name]).hexdigest()


def test_rest_and_the_table_of_predict_agree(client, network, tmp_path):
    import polars as pl

    network.save(tmp_path / "bundle")
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in FILES]
    table = predict_to_table(tmp_path / "bundle", paths, out=tmp_path / "table.parquet")
    rows = pl.read_parquet(table)
    found = client.post("/v1/predict", files=form(FILES.values())).json()["predictions"]
    assert [one["predicted"] for one in found] == rows["predicted"].to_list()
    for name in BINARY:
        served = np.array([one["probabilities"][name] for one in found])
        np.testing.assert_allclose(served, rows[f"probability_{name}"], rtol=0, atol=1e-6)


def test_many_at_once_are_none_lost_and_none_mixed_up(client, network):
    contents = [encoded(noise(seed, size=(24, 24))) for seed in range(120)]
    images = [np.asarray(noise(seed, size=(24, 24))) for seed in range(120)]
    expected = network.predict_proba(images)

    def ask(content):
        answer = client.post("/v1/predict", content=content)
        assert answer.status_code == 200
        return answer.json()["predictions"][0]

    with ThreadPoolExecutor(24) as pool:
        found = list(pool.map(ask, contents))
    for content, one, row in zip(contents, found, expected, strict=True):
        assert one["sha256"] == hashlib.sha256(content).hexdigest()
        np.testing.assert_allclose(list(one["probabilities"].values()), row, rtol=0, atol=1e-6)


def test_an_image_out_of_distribution_is_withheld_without_a_number(client):
    answer = client.post("/v1/predict?model=second", content=FILES["colours.png"]).json()
    (one,) = answer["predictions"]
    assert one["outcome"] == "withheld"
    assert one["ood_score"] > 1
    assert one["refer"] is True
    assert "out of distribution" in one["refer_reason"]
    assert one["predicted"] is one["probabilities"] is one["prediction_set"] is None


def test_a_file_among_others_that_is_no_image_has_its_reason_and_the_others_their_answers(client):
    answer = client.post(
        "/v1/predict", files=form([FILES["grey.png"], b"text", FILES["alpha.png"]])
    )
    assert answer.status_code == 200
    outcomes = [one["outcome"] for one in answer.json()["predictions"]]
    assert outcomes == ["predicted", "failed", "predicted"]
    assert answer.json()["predictions"][1]["error"] == "not an image (text)"


def test_a_heat_map_comes_with_the_verdict_on_it(client, network):
    from diascope.data.image import decode_image
    from diascope.explanations.heat_maps import Explainer

    answer = client.post("/v1/explain?method=grad-cam", content=FILES["colours.png"]).json()
    assert answer["verdict"]["level"] == "not tested"
    found = np.frombuffer(base64.b64decode(answer["heat_map"]["base64"]), "<f4")
    side = network.card.size_px
    image = network.card.pixels.read(FILES["colours.png"])
    target = np.array([BINARY.index(answer["target"])])
    expected = Explainer.of(network, "grad-cam").maps(image[np.newaxis], target)[0]
    np.testing.assert_array_equal(found.reshape(answer["heat_map"]["shape"]), expected)
    overlay = decode_image(base64.b64decode(answer["overlay_png"]))
    assert overlay.shape == (side, side, 3)


@pytest.mark.parametrize(
    ("path", "content", "status", "field"),
    [
        ("/v1/predict", b"no image", 422, "image"),
        ("/v1/predict?model=third", FILES["grey.png"], 404, "model"),
        ("/v1/predict?modle=first", FILES["grey.png"], 422, "modle"),
        ("/v1/predict?operating_point=best", FILES["grey.png"], 404, "operating_point"),
        ("/v1/explain?method=magic", FILES["grey.png"], 404, "method"),
        ("/v1/explain?target=cat", FILES["grey.png"], 404, "target"),
        ("/v1/explain", b"no image", 422, "image"),
    ],
)
def test_a_refusal_is_a_problem_that_names_the_field(client, path, content, status, field):
    answer = client.post(path, content=content)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == field
    assert answer.json()["status"] == status


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/predict", 405), ("GET", "/x", 404)]
)
def test_unknown_paths_and_methods_are_problems_too(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_models_are_listed_and_openapi_describes_every_route(client):
    names = [one["name"] for one in client.get("/v1/models").json()]
    assert names == ["first", "second"]
    described = client.get("/v1/openapi.json").json()
    paths = {"/v1/models", "/v1/predict", "/v1/explain", "/healthz", "/readyz", "/metrics"}
    assert set(described["paths"]) == paths
    bodies = described["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert {"image/png", "multipart/form-data"} <= set(bodies)


def test_metrics_count_what_was_said(network):
    with TestClient(app(network)) as client:
        client.post("/v1/predict", content=FILES["grey.png"])
        client.post("/v1/predict", content=b"text")
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ready"}
        text = client.get("/metrics").text
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    data = network.card.data
    assert found["diascope_images_total", *sorted([data, "predicted"])] == 1
    assert found["diascope_images_total", *sorted([data, "failed"])] == 1
    assert found["diascope_refusals_total", "unreadable-image"] == 1
    assert found["diascope_waiting", "images"] == 0


def test_a_full_queue_answers_503_and_when_to_come_again(network):
    with TestClient(app(network, limits=Limits(waiting_images=2))) as client:
        answer = client.post("/v1/predict", files=form([FILES["grey.png"]] * 3))
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert client.post("/v1/predict", content=FILES["grey.png"]).status_code == 200


def test_nothing_is_stored_unless_a_folder_is_named(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = FILES["grey.png"]
    sha256 = hashlib.sha256(content).hexdigest()
    with TestClient(app(network)) as client:
        client.post("/v1/predict", files=form([content]))
    assert list(tmp_path.iterdir()) == []
    with TestClient(app(network, keep=tmp_path / "kept")) as client:
        client.post("/v1/predict", files=form([content]))
    assert (tmp_path / "kept" / sha256 / "image").read_bytes() == content
    assert (tmp_path / "kept" / sha256 / f"{network.card.digest}.json").is_file()


def test_logs_have_neither_names_nor_queries(network, caplog):
    caplog.set_level("DEBUG")
    with TestClient(app(network)) as client:
        client.post("/v1/predict?model=miller", files=form([FILES["grey.png"]]))
        client.post("/miller-anna.png", content=FILES["grey.png"])
    ours = [one.getMessage() for one in caplog.records if one.name.startswith("diascope")]
    assert ours
    assert not any("miller" in line or "script" in line for line in ours)


def test_two_bundles_of_one_name_are_refused(network):
    from diascope.errors import SettingsError

    with pytest.raises(SettingsError, match="two have one name"):
        app([Servable("one", network), Servable("one", network)])


def test_the_app_is_had_from_the_room_itself():
    import diascope.serving
    from diascope.serving import asgi

    assert diascope.serving.app is asgi.app
    assert diascope.serving.Limits is Limits
    with pytest.raises(AttributeError):
        diascope.serving.nonsense  # noqa: B018 - the look-up is the test
