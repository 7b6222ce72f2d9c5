"""The published malaria system in Keras: four convolutions, `ImageDataGenerator`, 128 px."""

import json
import sys
from pathlib import Path

import keras
from keras import layers
from keras.src.legacy.preprocessing.image import ImageDataGenerator

SIDE, BATCH_SIZE = 128, 64


def build() -> keras.Model:
    """Return the network, compiled."""
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3))])
    for n_filters in (64, 64, 128, 128):
        model.add(layers.Conv2D(n_filters, 3, activation="relu"))
        model.add(layers.MaxPooling2D(2))
    model.add(layers.Flatten())
    model.add(layers.Dropout(0.5))
    model.add(layers.Dense(512, activation="relu"))
    model.add(layers.Dense(1, activation="sigmoid"))
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model


def main(folder: str, epochs: str, out: str) -> None:
    """Train and score."""
    keras.utils.set_random_seed(0)
    changed = ImageDataGenerator(
        rescale=1 / 255, rotation_range=20, zoom_range=0.2, shear_range=0.2, horizontal_flip=True
    )
    plain = ImageDataGenerator(rescale=1 / 255)
    how = {"target_size": (SIDE, SIDE), "batch_size": BATCH_SIZE, "class_mode": "binary"}
    how["classes"] = ["uninfected", "parasitized"]
    train = changed.flow_from_directory(f"{folder}/train", **how)
    val = plain.flow_from_directory(f"{folder}/val", **how, shuffle=False)
    test = plain.flow_from_directory(f"{folder}/test", **how, shuffle=False)
    model = build()
    best = keras.callbacks.EarlyStopping(
        monitor="val_accuracy", patience=3, restore_best_weights=True
    )
    model.fit(train, epochs=int(epochs), validation_data=val, callbacks=[best], verbose=2)
    scores = model.predict(test, verbose=0)[:, 0].tolist()
    scored = {
        "scores": dict(zip(test.filenames, scores, strict=True)),
        "versions": {"keras": keras.__version__, "backend": keras.backend.backend()},
    }
    Path(out).write_text(json.dumps(scored), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
