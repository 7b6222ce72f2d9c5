"""A model that does not exist: those with a similar name, and those whose weights are here."""

from __future__ import annotations

import pytest

from diascope.errors import UnknownNameError
from diascope.models.find import find_model
from diascope.models.pretrained import hub_file, models_with_weights
from diascope.models.spec import Head
from diascope.models.timm_backbone import timm_model


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("efficientnet_lite0", "timm:tf_efficientnet_lite0"),
        ("resnet18", "timm:resnet18"),
        ("ResNet50".lower(), "timm:resnet50"),
        ("compct", "Did you mean 'compact'"),
    ],
)
def test_the_networks_of_timm_are_suggested(name, hint):
    with pytest.raises(UnknownNameError) as caught:
        find_model(name)
    assert hint in str(caught.value)


def test_weights_on_this_machine_are_named(home):
    target = hub_file(timm_model("timm:resnet18", Head()))
    target.parent.mkdir(parents=True)
    target.touch()
    assert "timm:resnet18" in models_with_weights()
    with pytest.raises(UnknownNameError, match=r"on this machine: .*timm:resnet18"):
        find_model("no such network")
