"""Training and evaluation with the pack in an object store: the same bytes as from the disk."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from diascope.data.pack import find_pack, pack_images
from diascope.errors import SourceError
from diascope.reporting.report.images import open_images, open_source
from diascope.steps.evaluate import evaluate
from diascope.steps.report import report
from diascope.steps.train import train
from tests.conftest import SMALL
from tests.drawn.object_store import BUCKET, local_store, objects

SAME = ("bundle/model.safetensors", "predictions/val.parquet", "predictions/test.parquet")


@pytest.mark.slow
def test_training_from_an_object_store_gives_the_same_bytes(
    prepared, cells, home, tmp_path, monkeypatch
):
    monkeypatch.setattr("diascope.data.pack.SHARD_BYTES", 3 * 16**2 * 10)

    def trained_in(out):
        run = train("malaria", settings=SMALL, out=out)
        evaluate(run)
        return run

    here = trained_in(tmp_path / "here")
    shutil.rmtree(home / "packs")
    with local_store(monkeypatch) as client:
        monkeypatch.setenv("DIASCOPE_PACKS", f"s3://{BUCKET}/packs")
        there = trained_in(tmp_path / "there")
        for name in SAME:
            assert (there.folder / name).read_bytes() == (here.folder / name).read_bytes(), name
        stored = objects(client, "packs/")
        assert len(stored) == 8 * 2 + 1
        assert not list((home / "packs").iterdir())
        assert report(there).is_file()

        pixels, manifest = there.plan.pixels, there.manifest
        whole = np.array(find_pack(home, manifest, pixels)[:])
        (second,) = [name for name in stored if name.endswith("shard-00001.npy")]
        content = bytearray(client.get_object(Bucket=BUCKET, Key=second)["Body"].read())
        content[-1] ^= 1
        client.put_object(Bucket=BUCKET, Key=second, Body=bytes(content))
        images = find_pack(home, manifest, pixels)
        assert np.array_equal(images[:19], whole[:19])
        with pytest.raises(SourceError, match=r"shard-00001\.npy of the pack are damaged"):
            images[19]
        client.delete_object(Bucket=BUCKET, Key=second)
        with pytest.raises(SourceError, match=r"\(shard-00001\.npy\), and cannot be packed again"):
            pack_images(tmp_path / "gone", manifest, pixels, home=home)
        with pytest.raises(SourceError, match="There is no such object"):
            images[19]
        images = pack_images(cells, manifest, pixels, home=home)
        assert np.array_equal(images[:], whole)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(SourceError, match="does not answer"):
            train("malaria", settings=SMALL, out=tmp_path / "unreachable")
        assert report(there).is_file()
        with open_images(there) as images:
            image_id = manifest["image_id"][3]
            assert np.array_equal(images.seen(image_id), whole[3])  # from the source
        with open_source("/nowhere", manifest, pixels) as images:
            assert images.seen(image_id) is None
