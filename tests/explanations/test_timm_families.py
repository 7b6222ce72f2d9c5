"""Any family of timm can be explained: a layer is found, and no map is blank."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn.networks import draw_bundle, draw_images, draw_network

from diascope.explanations.cams import _maps_and_gradients
from diascope.explanations.heat_maps import Explainer

ONE_EACH = {"depths": (1, 1, 1, 1)}
# A network of the family, the smallest side that it takes, and how it becomes smaller
QUICK = {
    "resnet10t": (64, {}),
    "convnext_atto": (64, {"depths": (1, 2, 2, 1)}),
    "vit_tiny_patch16_224": (224, {"depth": 2}),
    "swin_tiny_patch4_window7_224": (224, ONE_EACH),
    "mixer_s32_224": (224, {}),
    "mobilevit_xxs": (64, {}),
}
OTHERS = {
    "beit_base_patch16_224": (224, {"depth": 2}),
    "caformer_s18": (64, {}),
    "cait_xxs24_224": (224, {"depth": 2}),
    "coatnet_0_rw_224": (224, ONE_EACH),
    "convit_tiny": (224, {"depth": 3, "local_up_to_layer": 2}),
    "convmixer_768_32": (64, {}),
    "cspresnet50": (64, {}),
    "davit_tiny": (64, ONE_EACH),
    "deit3_small_patch16_224": (224, {"depth": 2}),
    "deit_tiny_distilled_patch16_224": (224, {"depth": 2}),
    "densenet121": (64, {"block_config": (2, 2, 2, 2)}),
    "dla46_c": (64, {}),
    "dpn48b": (64, {}),
    "edgenext_xx_small": (64, ONE_EACH),
    "efficientformer_l1": (224, {}),
    "efficientvit_b0": (64, {}),
    "eva02_tiny_patch14_224": (224, {"depth": 2}),
    "fastvit_t8": (64, {"layers": (1, 1, 1, 1)}),
    "focalnet_tiny_srf": (64, {}),
    "ghostnet_050": (64, {}),
    "gmlp_ti16_224": (224, {}),
    "hgnetv2_b0": (64, {}),
    "hiera_tiny_224": (224, {}),
    "hrnet_w18_small": (64, {}),
    "inception_next_atto": (64, {}),
    "inception_v3": (75, {}),
    "levit_128s": (224, {}),
    "mambaout_femto": (64, ONE_EACH),
    "mobilenetv3_small_050": (64, {}),
    "mobilenetv4_conv_small": (64, {}),
    "mvitv2_tiny": (224, {}),
    "naflexvit_base_patch16_gap": (224, {"depth": 2}),
    "nest_tiny_jx": (224, {}),
    "nextvit_small": (64, {}),
    "nfnet_f0": (64, {}),
    "pit_ti_224": (224, {"depth": (1, 1, 1)}),
    "poolformer_s12": (64, {}),
    "pvt_v2_b0": (64, ONE_EACH),
    "rdnet_tiny": (64, {}),
    "regnetx_002": (64, {}),
    "repvgg_a0": (64, {}),
    "repvit_m0_9": (64, {}),
    "res2net50_26w_4s": (64, {"layers": (1, 1, 1, 1)}),
    "resmlp_12_224": (224, {}),
    "samvit_base_patch16_224": (224, {"depth": 2}),
    "selecsls42": (64, {}),
    "sequencer2d_s": (224, {"layers": (1, 1, 1, 1)}),
    "shvit_s1": (64, {}),
    "starnet_s1": (64, {}),
    "swiftformer_xs": (64, {}),
    "swinv2_tiny_window8_256": (256, ONE_EACH),
    "test_maxvit": (160, {}),
    "tf_efficientnet_lite0": (64, {}),
    "tiny_vit_5m_224": (64, ONE_EACH),
    "tnt_s_patch16_224": (224, {"depth": 2}),
    "twins_pcpvt_small": (224, ONE_EACH),
    "vgg11": (64, {}),
    "visformer_tiny": (224, {"depth": (1, 1, 1)}),
    "vit_relpos_small_patch16_224": (224, {"depth": 2}),
    "volo_d1_224": (224, {}),
    "vovnet39a": (64, {}),
    "xception41": (64, {}),
    "xcit_nano_12_p16_224": (224, {"depth": 2}),
}
FAMILIES = [pytest.param(name, *how, id=name) for name, how in QUICK.items()] + [
    pytest.param(name, *how, id=name, marks=pytest.mark.slow) for name, how in OTHERS.items()
]
BLANK = 2e-5  # of the largest evidence: what is below is rounding
SAME = 0.01  # of the largest value, what the maps of two classes differ less than


@pytest.mark.parametrize(("name", "size_px", "smaller"), FAMILIES)
def test_every_family_gets_maps_that_are_not_blank_and_differ_by_class(name, size_px, smaller):
    bundle = draw_bundle(draw_network(f"timm:{name}", size_px=size_px, **smaller), size_px=size_px)
    image = draw_images(1, size_px)
    layer = Explainer.of(bundle, "grad-cam").layer
    assert layer is not None
    assert layer.side > 1
    for method in ("grad-cam", "hires-cam"):
        explainer = Explainer(bundle, method, layer)
        first, second = (explainer.evidence(image, np.array([k]))[0] for k in range(2))
        largest = max(np.abs(first).max(), np.abs(second).max())
        assert np.isfinite(first).all()
        assert np.isfinite(second).all()
        assert first.std() > BLANK * largest, (method, layer)
        assert second.std() > BLANK * largest, (method, layer)
        assert np.abs(first - second).max() > SAME * largest, (method, layer)
    x = bundle.to_input(image)
    _, gradients = _maps_and_gradients(bundle.module, x, torch.tensor([0]), layer)
    assert (gradients.abs().sum(dim=1) > 0).float().mean() > 0.9, layer
