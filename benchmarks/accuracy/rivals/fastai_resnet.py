"""fastai with its defaults: `vision_learner`, ResNet-18, `fit_one_cycle`, 128 px."""

import json
import sys
from pathlib import Path

import fastai
import torch
from fastai.vision.all import (
    ImageDataLoaders,
    Resize,
    accuracy,
    aug_transforms,
    get_image_files,
    resnet18,
    set_seed,
    vision_learner,
)

SIDE = 128


def main(folder: str, epochs: str, out: str) -> None:
    """Train and score."""
    set_seed(0)
    loaders = ImageDataLoaders.from_folder(
        folder,
        train="train",
        valid="val",
        item_tfms=Resize(SIDE),
        batch_tfms=aug_transforms(),
        num_workers=2,
    )
    learner = vision_learner(loaders, resnet18, pretrained=False, metrics=accuracy)
    with learner.no_bar():
        learner.fit_one_cycle(int(epochs))
    files = sorted(get_image_files(f"{folder}/test"))
    with learner.no_bar():
        scores, _ = learner.get_preds(dl=loaders.test_dl(files))
    parasitized = list(loaders.vocab).index("parasitized")
    names = [str(path).removeprefix(f"{folder}/test/") for path in files]
    scored = {
        "scores": dict(zip(names, scores[:, parasitized].tolist(), strict=True)),
        "versions": {"torch": torch.__version__, "fastai": fastai.__version__},
    }
    Path(out).write_text(json.dumps(scored), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
