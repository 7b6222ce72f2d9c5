"""Names of a user's own data are bound to their path: never the images of another folder."""

from __future__ import annotations

import pytest
from drawn.own_images import draw_folder

from diascope.cli.app import spread_columns
from diascope.data.prepared import check_is_published, dataset_name, is_path
from diascope.datasets.own.dataset import own_dataset
from diascope.errors import RunError, SettingsError
from diascope.steps.prepare import prepare
from diascope.steps.train import train

RULE = r"^P\d+"


@pytest.fixture
def projects(tmp_path):
    for project in "ab":
        draw_folder(tmp_path / f"project_{project}" / "mydata", n_patients=6)
    return tmp_path


def prepare_here(name="mydata", **options):
    own = own_dataset("mydata", group_from=RULE, name=name, **options)
    return prepare(own, near_duplicates=False)


def test_the_same_prepare_works_twice_and_its_name_is_found(projects, monkeypatch):
    monkeypatch.chdir(projects / "project_a")
    prepare_here()
    assert is_path("mydata")
    prepare_here()
    assert dataset_name("mydata") == dataset_name("./mydata") == "mydata"
    monkeypatch.chdir(projects)
    assert dataset_name("mydata") == "mydata"
    assert dataset_name(str(projects / "project_a/mydata")) == "mydata"


def test_a_folder_of_this_name_that_was_not_prepared_is_never_taken_for_another(
    projects, monkeypatch
):
    monkeypatch.chdir(projects / "project_a")
    prepare_here()
    monkeypatch.chdir(projects / "project_b")
    with pytest.raises(SettingsError, match=r"two things[\s\S]*project_a[\s\S]*prepare mydata"):
        train("mydata")
    with pytest.raises(SettingsError, match=r"another data set, prepared from .*project_a"):
        prepare_here()
    with pytest.raises(RunError, match="has not been prepared"):
        dataset_name("./mydata")


def test_two_projects_that_both_prepared_theirs_are_asked_which_is_meant(projects, monkeypatch):
    monkeypatch.chdir(projects / "project_a")
    prepare_here()
    monkeypatch.chdir(projects / "project_b")
    prepare_here(name="other")
    with pytest.raises(SettingsError, match=r"two things[\s\S]*was prepared as other"):
        dataset_name("mydata")
    assert dataset_name("./mydata") == dataset_name("other") == "other"
    monkeypatch.chdir(projects)
    assert dataset_name("mydata") == "mydata"


def test_a_name_is_not_prepared_again_without_its_path_and_the_path_is_said(projects, monkeypatch):
    monkeypatch.chdir(projects / "project_a")
    prepare_here()
    monkeypatch.chdir(projects)
    with pytest.raises(SettingsError, match=r"your own data from .*project_a/mydata[\s\S]*--name"):
        check_is_published("mydata")
    with pytest.raises(SettingsError, match="your own data from"):
        prepare("mydata")


def test_a_published_name_stays_the_published_set_until_the_folder_here_is_prepared(
    tmp_path, monkeypatch, prepared
):
    draw_folder(tmp_path / "malaria", n_patients=6)
    monkeypatch.chdir(tmp_path)
    assert not is_path("malaria")
    assert dataset_name("malaria") == "malaria"
    prepare(own_dataset("malaria", group_from=RULE, name="cells"), near_duplicates=False)
    with pytest.raises(SettingsError, match=r"a published data set[\s\S]*was prepared as cells"):
        dataset_name("malaria")
    assert dataset_name("./malaria") == "cells"


def test_several_columns_may_follow_the_option():
    words = ["prepare", "t.csv", "--column", "group=id", "label=dx", "path=f", "--seed", "1"]
    assert spread_columns(words) == [
        *("prepare", "t.csv", "--column", "group=id", "--column", "label=dx"),
        *("--column", "path=f", "--seed", "1"),
    ]
    assert spread_columns(["label=dx", "--column"]) == ["label=dx", "--column"]
