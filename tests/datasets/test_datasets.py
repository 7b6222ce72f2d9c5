"""Every data set and plug-in that the scan finds keeps the contract."""

from __future__ import annotations

import json
import re

import pytest

from diascope.data.manifest import check_rows
from diascope.data.sources.folder import open_files
from diascope.data.spec import DatasetCard, DatasetSpec
from diascope.datasets.malaria import patient
from diascope.errors import DataError, SettingsError, UnknownNameError
from diascope.system.plugins import find, find_all

NAMES = sorted(find_all("datasets"))


@pytest.mark.parametrize("name", NAMES)
def test_every_data_set_indexes_its_own_miniature(name, tmp_path):
    spec = find("datasets", name)
    spec.fake(tmp_path)
    with open_files(tmp_path) as files:
        rows = check_rows(spec.index(files), spec.task)
        assert set(rows["path"]) <= set(files.names())
    assert rows.height >= 12
    assert set(rows["label"]) == set(spec.task.classes)
    assert rows["group"].n_unique() >= 3


@pytest.mark.parametrize("name", NAMES)
def test_every_data_set_says_what_the_user_owes(name):
    spec = find("datasets", name)
    assert isinstance(spec, DatasetSpec)
    for text in (spec.title, spec.modality, spec.licence, spec.citation, spec.group_kind):
        assert text
    assert bool(spec.sources) != (spec.draw is not None)
    assert all(source.url.startswith(("https://", "http://")) for source in spec.sources)


def test_only_images_whose_licence_says_so_may_be_passed_on():
    for name in NAMES:
        spec = find("datasets", name)
        is_free = spec.licence.startswith(("Apache-2.0", "CC BY"))
        assert spec.redistributable == spec.card.redistributable == is_free, name
    assert not find("datasets", "malaria").redistributable
    assert not find("datasets", "breast_idc").redistributable


@pytest.mark.parametrize("name", NAMES)
def test_a_card_of_before_lets_nothing_be_passed_on(name):
    values = json.loads(json.dumps(find("datasets", name).as_dict()))
    del values["redistributable"]
    assert not DatasetCard.from_dict(values).redistributable
    with pytest.raises(DataError, match="redistributable"):
        DatasetCard.from_dict({**values, "redistributable": "yes"})


@pytest.mark.parametrize("name", NAMES)
def test_every_card_survives_json(name):
    spec = find("datasets", name)
    card = DatasetCard.from_dict(json.loads(json.dumps(spec.as_dict())))
    assert card == spec.card
    assert type(card) is DatasetCard
    assert (card.name, card.task) == (spec.name, spec.task)


def test_a_patient_photographed_with_two_devices_is_one_patient():
    names = ("C47P8thinF_IMG_20150714_1_cell_1.png", "C47P8thinOriginalOlympus_2_cell_9.png")
    assert {patient(name) for name in names} == {"C47"}


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'synthetic'"):
        find("datasets", "synthetik")


PLUGIN = """
from dataclasses import replace
from diascope.datasets.malaria import DATASETS as THEIRS
DATASETS = tuple(replace(spec, name="mine") for spec in THEIRS) * {times}
"""


def test_a_data_set_can_be_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.format(times=1))
    assert find("datasets", str(path)).name == "mine"
    path.write_text(PLUGIN.format(times=2))
    with pytest.raises(SettingsError, match="defines 2 data sets"):
        find("datasets", str(path))
    with pytest.raises(SettingsError, match="no file"):
        find("datasets", str(tmp_path / "none.py"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import diascope\nDATASETS = (nothing,)\n", "NameError: name 'nothing'.*line 2"),
        ("x = 1\n\ndef broken(:\n", "SyntaxError.*line 3"),
        ("import a_package_that_is_nowhere\n", "ModuleNotFoundError.*line 1"),
        ("import json\n\njson.loads('{')\n", "JSONDecodeError.*line 3"),
    ],
)
def test_a_file_of_ones_own_that_cannot_be_loaded_is_one_message(text, says, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        find("datasets", str(path))
    assert re.search(says, str(caught.value), re.DOTALL)
