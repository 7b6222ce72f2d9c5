"""The files of a data set that is drawn: once, whoever asks, and whole."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from diascope.data.obtain import obtain
from diascope.datasets import synthetic
from diascope.errors import SourceError
from diascope.system.progress import silent

N_PROCESSES = 4


def test_those_who_ask_for_the_same_drawing_at_the_same_moment_get_one(home):
    together, drawn = Barrier(N_PROCESSES), []

    def draw(folder, seed, _progress):
        drawn.append(seed)
        (folder / "cells").mkdir()
        time.sleep(0.1)
        (folder / "cells" / "one.png").write_bytes(b"1")

    spec = replace(synthetic.DATASETS[0], draw=draw)

    def ask(_number):
        together.wait()
        return obtain(spec, seed=7, progress=silent)

    with ThreadPoolExecutor(N_PROCESSES) as pool:
        (folder,) = set(pool.map(ask, range(N_PROCESSES)))
    assert drawn == [7]
    assert [path.name for path in folder.rglob("*.png")] == ["one.png"]
    assert not list(folder.parent.glob("*.unfinished"))


def test_a_drawing_that_broke_off_is_begun_anew(home):
    def draw(folder, _seed, _progress):
        assert not list(folder.iterdir())
        (folder / "one.png").write_bytes(b"1")
        if is_full:
            raise OSError(28, "No space left on device")

    spec, is_full = replace(synthetic.DATASETS[0], draw=draw), True
    with pytest.raises(SourceError, match="No space left"):
        obtain(spec, seed=7, progress=silent)
    is_full = False
    folder = obtain(spec, seed=7, progress=silent)
    assert [path.name for path in folder.iterdir()] == ["one.png"]
