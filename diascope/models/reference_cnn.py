"""The published malaria system: four convolutions trained from scratch at 128 px.

Rebuilt from its description: 3x3 convolutions of 64, 64, 128 and 128 filters without padding, each
with ReLU and 2x2 max-pooling, dropout 0.5, a dense layer of 512, Keras' initialisation.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from diascope.models.spec import ModelSpec

WIDTHS = (64, 64, 128, 128)


def build(n_classes: int, size_px: int) -> nn.Module:
    """Build the network for (B, 3, S, S) batches; returns (B, K) logits.

    Weights are drawn from Glorot's uniform distribution and biases are zero, as Keras does
    (Glorot & Bengio 2010).
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    n_in, side_px = 3, size_px
    for number, n_out in enumerate(WIDTHS, start=1):
        layers[f"conv{number}"] = nn.Conv2d(n_in, n_out, 3)
        layers[f"relu{number}"] = nn.ReLU(inplace=True)
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        n_in, side_px = n_out, (side_px - 2) // 2
    layers["flatten"] = nn.Flatten()
    layers["dropout"] = nn.Dropout(0.5)
    layers["dense"] = nn.Linear(n_in * side_px**2, 512)
    layers["relu_dense"] = nn.ReLU(inplace=True)
    layers["head"] = nn.Linear(512, n_classes)
    module = nn.Sequential(layers)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


PUBLISHED = "the published system"

MODELS = (
    ModelSpec(
        name="reference_cnn",
        title="the published malaria CNN, 4 convolutions at 128 px, trained from scratch",
        source="a published Keras system for the NLM malaria cells, rebuilt from its description",
        build=build,
        min_size_px=46,
        first_layer="conv1",
        settings={
            "size_px": (128, PUBLISHED),
            "fit": ("stretch", "the published system resizes every crop to a square"),
            "normalise": ("unit", "the published system divides by 255"),
            "batch_size": (64, PUBLISHED),
            "max_epochs": (15, PUBLISHED),
            "optimizer": ("adam", PUBLISHED),
            "learning_rate": (1e-3, PUBLISHED),
            "weight_decay": (0.0, PUBLISHED),
            "schedule": ("constant", PUBLISHED),
            "label_smoothing": (0.0, PUBLISHED),
            "flips": ("horizontal", PUBLISHED),
            "rotation_degrees": (20.0, PUBLISHED),
            "shear_degrees": (
                0.2,
                "the published value is 0.2, which ImageDataGenerator of Keras takes as degrees",
            ),
            "zoom": (0.2, PUBLISHED),
            "colour_jitter": (0.0, PUBLISHED),
            "selection": (
                "best_val_accuracy",
                "the published system restores the weights of the best validation accuracy",
            ),
            "patience_epochs": (3, PUBLISHED),
            "views": (1, PUBLISHED),
        },
    ),
)
