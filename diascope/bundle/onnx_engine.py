"""The engine that scores images: torch, or ONNX Runtime where that is asked for.

ONNX Runtime is given a graph, which is made once and kept in ``onnx/`` of the home of diascope,
under the digest of the card (which covers the weights) and the versions of all packages that have a
part in it. Before a graph is kept, its answers are held against those of torch. Where it cannot be
kept, it is used all the same and made again the next time.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.onnx_network import OnnxNetwork, onnx_graph, open_session
from diascope.bundle.predictions import softmax
from diascope.errors import RunError, SourceError, UnknownNameError
from diascope.system.environment import home
from diascope.system.extras import check_extra
from diascope.system.files import atomic_path, file_digest
from diascope.system.sealed import read_named, read_sealed, write_sealed

AUTO, TORCH, ONNX_RUNTIME = ENGINES = ("auto", "torch", "onnxruntime")
PACKAGES = ("diascope", "torch", "timm", "onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-5  # of probabilities
OOD_TOLERANCE = 1e-3  # of out-of-distribution scores, as a fraction of the score, or of the limit
N_TRIAL_IMAGES = 16
FIX = "Pass --engine torch."


def with_engine(
    bundle: Bundle, engine: str, *, warn: Callable[[str], None] = warnings.warn
) -> Bundle:
    """Return the bundle as it scores with an engine.

    Parameters
    ----------
    bundle : Bundle
        As it was loaded: its card names its weights.
    engine : str
        ``"torch"``, ``"onnxruntime"``, or ``"auto"``, which is torch.
    warn : function
        Called with one line where the graph cannot be kept.

    Raises
    ------
    UnknownNameError
        There is no such engine.
    SettingsError
        The packages of ONNX Runtime are not installed.
    RunError
        The network cannot be expressed in ONNX, or does not answer as with torch.
    """
    if engine not in ENGINES:
        raise UnknownNameError("engine", engine, ENGINES)
    if engine != ONNX_RUNTIME:
        return bundle
    check_extra("onnx", what="--engine onnxruntime")
    import torch

    return _scoring_by(_kept_graph(bundle, warn), bundle, n_threads=torch.get_num_threads())


def _scoring_by(content: bytes, bundle: Bundle, *, n_threads: int) -> Bundle:
    card = bundle.card
    session = open_session(content, n_threads=n_threads)
    network = OnnxNetwork(session, bundle.module, card.digest, card.views)
    return replace(bundle, onnx_network=network)


def _kept_graph(bundle: Bundle, warn: Callable[[str], None]) -> bytes:
    """Return the graph of a bundle: the one that is kept, if it is undamaged, or a new one."""
    facts = {
        "card": bundle.card.digest,
        "weights_sha256": bundle.card.weights_sha256,
        "packages": {name: _version(name) for name in PACKAGES},
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
    path = home() / "onnx" / f"{key}.onnx"
    about = path.with_suffix(".json")
    try:
        return read_named(path, read_sealed(about, fix="").get("graph_sha256"), fix="")
    except RunError:  # missing or damaged: it is made again
        content = _made_graph(bundle)
    try:
        with atomic_path(path, is_cache=True) as temporary:
            temporary.write_bytes(content)
        write_sealed(about, {**facts, "graph_sha256": file_digest(path)})
    except (SourceError, OSError) as error:
        reason = error.problem if isinstance(error, SourceError) else str(error)
        warn(f"The graph of ONNX Runtime is not kept in {path.parent}: {reason}")
    return content


def _made_graph(bundle: Bundle) -> bytes:
    graph = onnx_graph(bundle.scoring_module, bundle.card)
    content = graph.SerializeToString(deterministic=True)
    _check_answers(bundle, content)
    return content


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _check_answers(bundle: Bundle, content: bytes) -> None:
    """Check on a few images that a graph answers as torch does."""
    images = _trial_images(bundle)
    by_onnx = _scoring_by(content, bundle, n_threads=1)
    logits, scores = bundle.predict_with_ood_scores(images)
    onnx_logits, onnx_scores = by_onnx.predict_with_ood_scores(images)
    far = float(np.abs(softmax(logits) - softmax(onnx_logits)).max())
    if not far <= TOLERANCE:
        raise _other_answers(f"a probability differs by {far:.2g}, and {TOLERANCE:g} is allowed")
    if scores is not None and onnx_scores is not None:
        far = float((np.abs(scores - onnx_scores) / np.maximum(1, scores)).max())
        if not far <= OOD_TOLERANCE:
            raise _other_answers(f"an out-of-distribution score differs by {far:.1%}")


def _other_answers(why: str) -> RunError:
    return RunError(f"ONNX Runtime answers otherwise than torch: {why}.", fix=FIX)


def _trial_images(bundle: Bundle) -> NDArray[np.uint8]:
    """Return images to try a network on, uint8 (N, S, S, 3): its examples, and coarse blocks."""
    side = bundle.card.size_px
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (N_TRIAL_IMAGES, 8, 8, 3), dtype=np.uint8)
    each = -(-side // 8)
    drawn = coarse.repeat(each, axis=1).repeat(each, axis=2)[:, :side, :side]
    return drawn if bundle.cases is None else np.concatenate([bundle.cases.example_images, drawn])
