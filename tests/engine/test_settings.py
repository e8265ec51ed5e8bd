"""Settings: lists split, values checked, differences found, checkpoints adopted."""

import pytest

from data_pipelines.errors import DataError
from kanoclip_jax import engine
from kanoclip_jax.configs import ablation, base, demo, mvtec, visa
from kanoclip_jax.engine.settings import (
    adopt,
    differing_keys,
    folder_class_names,
    resolve,
    to_dict,
)
from kanoclip_jax.errors import InputError


@pytest.mark.parametrize("module", [base, demo, mvtec, visa])
def test_every_configuration_resolves(module):
    resolve(module.get_config())


def test_the_rows_add_one_part_each():
    parts = ("knpl", "vv", "cmci", "adapter")
    rows = {row: base.get_config(row).model for row in base.ROWS}
    changes = ablation.get_config().row_settings
    assert {row: changes[row].model.to_dict() for row in rows} == base.ROWS
    on = {row: [part for part in parts if model[part]] for row, model in rows.items()}
    assert on == {
        "none": [],
        "knpl": ["knpl"],
        "vv": ["knpl", "vv"],
        "cmci": ["knpl", "vv", "cmci"],
        "adapter": ["knpl", "vv", "cmci", "adapter"],
    }


def test_lists_are_split_at_commas():
    config = base.get_config()
    config.eval.datasets = "visa, folder:/a/b ,mpdd"
    config.model.taps = "3,6"
    resolved = resolve(config)
    assert resolved.eval.datasets == ("visa", "folder:/a/b", "mpdd")
    assert resolved.model.taps == (3, 6)
    assert resolved.model.normal_states == ("normal", "perfect")


def test_names_of_folders_classes_are_a_setting_that_matters():
    config = base.get_config()
    before = to_dict(resolve(config))
    config.data.folder_class_names = "pcb_01=printed circuit board, pcb_02 = driver"
    after = resolve(config)
    assert folder_class_names(after) == {
        "pcb_01": "printed circuit board",
        "pcb_02": "driver",
    }
    assert differing_keys(before, to_dict(after)) == ["data.folder_class_names"]
    # Runs that are older than the setting, and the row's name, go on.
    del before["data"]["folder_class_names"], before["row"]
    config.data.folder_class_names, config.row = "", "none"
    assert differing_keys(before, to_dict(resolve(config))) == []


def test_a_name_of_no_folder_s_class_ends_a_run_before_it_begins(tmp_path):
    config = base.get_config()
    config.data.prepared = str(tmp_path)
    config.data.folder_class_names = "pcb_01=printed circuit board"
    config.eval.datasets = f"mpdd,folder:{tmp_path}"
    with pytest.raises(DataError, match="has 'pcb_01', which is no class of a folder"):
        engine.run("eval", config, tmp_path / "run")


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("train", "batch_size", -1, "train.batch_size is -1"),
        ("clip", "position_grid", "nearest", "bilinear, bicubic"),
        ("clip", "input_range", "imagenet", "allowed: clip, unit"),
        ("data", "mask_values", "white", "auto, nonzero, half, ids"),
        ("data", "orientation", "left", "allowed: upright, stored"),
        ("data", "mask_orientation", "left", "allowed: auto, upright, stored"),
        ("data", "folder_class_names", "pcb_01", "'pcb_01'; each class once as CLASS="),
        ("data", "folder_class_names", "a=b,a=c", "'a=c'; each class once"),
        ("knowledge", "action", "show", "build, inspect"),
        ("knowledge", "weighting", "most", "count, balanced"),
        ("eval", "resolution", "full", "eval.resolution is 'full'.*model, original"),
        ("model", "taps", "last", "numbers, as in 6,12,18,24"),
    ],
)
def test_wrong_values_are_named(section, key, value, words):
    config = base.get_config()
    config[section][key] = value
    with pytest.raises(InputError, match=words):
        resolve(config)


def test_differences_that_matter():
    first, second = base.get_config(), base.get_config()
    second.train.epochs = 3
    second.data.root = "/elsewhere"
    second.data.skip_bad_files = True
    second.train.cache_features = "never"
    second.knowledge.action = "inspect"
    second.knowledge.dataset = "visa"
    second.knowledge.normalize_each = True
    second.eval.resolution = "original"
    second.knowledge.n = 9
    second.knowledge.provider = "template"
    second.knowledge.weighting = "balanced"
    second.checkpoint_visa = "/elsewhere"
    found = differing_keys(to_dict(resolve(first)), to_dict(resolve(second)))
    assert found == [
        "data.skip_bad_files",
        "eval.resolution",
        "knowledge.normalize_each",
        "knowledge.weighting",
        "train.epochs",
    ]


def test_a_guide_matters_to_those_who_have_one():
    here, there = base.get_config("crane_plus"), base.get_config("crane_plus")
    there.guide.name = "mine"
    here, there = resolve(here), resolve(there)
    assert differing_keys(to_dict(here), to_dict(there)) == ["guide.name"]
    assert adopt(here, to_dict(there), frozenset()).guide.name == "mine"
    # A run that began before there were guides goes on.
    new = to_dict(resolve(base.get_config()))
    old = {key: value for key, value in new.items() if key != "guide"}
    assert differing_keys(old, new) == []


def test_a_checkpoint_wins_over_the_file_and_loses_to_the_command_line():
    trained = base.get_config()
    trained.model.sigma = 2.0
    trained.model.taps = "1,2"
    trained.train.epochs = 99
    here = base.get_config()
    here.clip.name = "mine"
    merged = adopt(resolve(here), to_dict(resolve(trained)), frozenset({"clip.name"}))
    assert merged.model.sigma == 2.0
    assert merged.model.taps == (1, 2)
    assert merged.clip.name == "mine"
    assert merged.train.epochs == 4


def test_a_setting_that_came_later_was_as_before() -> None:
    new = to_dict(resolve(base.get_config()))
    old = to_dict(resolve(base.get_config()))
    del old["clip"]["input_range"], old["train"]["weight_decay"]
    for key in ("mask_values", "orientation", "mask_orientation"):
        del old["data"][key]
    assert differing_keys(old, new) == []
    new["clip"]["input_range"] = "unit"
    assert differing_keys(old, new) == ["clip.input_range"]
