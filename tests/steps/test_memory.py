"""A pack may be larger than memory: training and scoring read it batch by batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_GB, PACK_GB = 3, 6
RUN = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_DATA, (GIGABYTES * 2**30, GIGABYTES * 2**30))
import numpy as np, torch
torch.set_num_threads(2)
from diascope.training.plan import Augmentation, Training
from diascope.data.fingerprint import channel_statistics
from diascope.system.device import resident
from diascope.training.inputs import ImageInputs
from diascope.training.loop import predict_logits, train_epochs
from diascope.models.compact import Compact

folder = Path(sys.argv[1])
images = np.load(folder / "images.npy", mmap_mode="r")
n = len(images)
labels = np.arange(n) % 2
rows = np.arange(n)
mean, std = channel_statistics(images, rows[:5000])
inputs = ImageInputs(
    resident(images, torch.device("cpu")), mean, std, Augmentation(flips="dihedral"), 0
)
how = Training(
    max_epochs=1, max_steps=60, batch_size=128, optimizer="adamw", learning_rate=1e-3,
    weight_decay=0.0, schedule="one_cycle", label_smoothing=0.0, imbalance="none",
    selection="last", patience_epochs=0, precision="fp32",
)
module = Compact(2)
events = train_epochs(
    module, inputs, labels, train=rows, val=rows[:256], how=how, seed=0,
    checkpoint=folder / "last",
)
print(len(list(events)))
try:
    np.array(images)
except MemoryError:
    print("too large to copy")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
def test_a_pack_larger_than_memory_is_learned_from(tmp_path: Path):
    import numpy as np

    side = 64
    n_images = PACK_GB * 2**30 // (3 * side**2)
    header = {"descr": "|u1", "fortran_order": False, "shape": (n_images, side, side, 3)}
    with (tmp_path / "images.npy").open("wb") as file:  # a hole: takes no room on the disk
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + n_images * 3 * side**2)
    code = RUN.replace("GIGABYTES", str(LIMIT_GB))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n")[:2] == ["61", "too large to copy"], done.stderr[-2000:]
