"""torchvision as its transfer-learning tutorial has it: `ImageFolder`, `DataLoader`, ResNet-18."""

import json
import sys
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

SIDE, BATCH_SIZE, WORKERS = 128, 32, 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main(folder: str, epochs: str, out: str) -> None:
    """Train and score."""
    torch.manual_seed(0)
    end = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    changed = [transforms.RandomResizedCrop(SIDE), transforms.RandomHorizontalFlip()]
    plain = [transforms.Resize(SIDE + 16), transforms.CenterCrop(SIDE)]
    train = datasets.ImageFolder(f"{folder}/train", transforms.Compose(changed + end))
    test = datasets.ImageFolder(f"{folder}/test", transforms.Compose(plain + end))
    batches = DataLoader(train, BATCH_SIZE, shuffle=True, num_workers=WORKERS)
    model = models.resnet18(num_classes=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    n_epochs = int(epochs)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, max(1, round(n_epochs * 0.7)), 0.1)
    for epoch in range(n_epochs):
        model.train()
        for x, y in batches:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        print(f"epoch {epoch + 1}", flush=True)
    model.eval()
    scores = []
    parasitized = train.class_to_idx["parasitized"]
    with torch.inference_mode():
        for x, _ in DataLoader(test, BATCH_SIZE, num_workers=WORKERS):
            scores += model(x).softmax(dim=1)[:, parasitized].tolist()
    names = [path.removeprefix(f"{folder}/test/") for path, _ in test.samples]
    scored = {
        "scores": dict(zip(names, scores, strict=True)),
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
    }
    Path(out).write_text(json.dumps(scored), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
