# %% [markdown]
# # Skin lesions: seven diagnoses of unequal frequency
#
# HAM10000, the training set of ISIC 2018 task 3, with a network that has learned from other
# pictures before. Where the official or the Kaggle files are not on this machine, a drawn
# miniature takes their place: then the figures mean nothing.

# %%
import os
from pathlib import Path

import diascope
from diascope.datasets import ham10000

source = Path(os.environ.get("DIASCOPE_TEST_DATA", "data"), "ham10000")
if not source.is_dir():
    source = Path("miniature/ham10000")
    ham10000.fake(source)

# %% [markdown]
# ## Prepare
#
# A lesion was photographed up to six times, and some lesions have two ids. `prepare` searches for
# pictures of the same thing, and keeps all images of a lesion on one side of the split. How a
# diagnosis was made (`dx_type`) gives it away: it travels along and is never an input.

# %%
prepared = diascope.prepare("ham10000", source=source)
card = prepared.dataset
for name, counts in prepared.fingerprint["classes"].items():
    print(f"{card.title_of(name)}: {counts['n_images']:,} images, {counts['n_groups']:,} lesions")

# %% [markdown]
# ## Look
#
# Two of three images are naevi: whoever always says naevus is right in 67 % of the images.
#
# ![Images of each diagnosis](../docs/story_skin_lesions.png)

# %%
print(diascope.show("ham10000"))

# %% [markdown]
# ## Train a head on a pretrained network
#
# The features are computed once, so this is quick. The loss makes up for the unequal classes;
# the probabilities then refer to the frequencies in train again. Fine-tuning the whole network
# (leave `finetune` out) gives more, and takes longer.

# %%
MODEL = "timm:tf_efficientnet_lite0"
run = diascope.train("ham10000", model=MODEL, finetune="head", out="runs/skin-story")

# %% [markdown]
# ## Evaluate
#
# Accuracy is easy here. Balanced accuracy, the mean of what is found of each class, is not.

# %%
metrics = diascope.evaluate(run)
for name in ("accuracy", "balanced_accuracy", "auroc"):
    print(f"{name}: {metrics['estimates'][name]['value']:.3f}")
for name, values in metrics["per_class"].items():
    recall = values["recall"]["value"]
    print(f"found of {card.title_of(name)}:", "unknown" if recall is None else f"{recall:.0%}")

# %% [markdown]
# ## Report
#
# The page shows the worst errors, results by age, sex and site, and for which images a network
# like this should not be asked. The official test set is a test on other images: `diascope
# prepare isic2018_test`, then `diascope evaluate RUN --on isic2018_test`.

# %%
print(diascope.report(run))
