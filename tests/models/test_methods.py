"""Building by name: wrong settings are named with the nearest right one."""

from importlib.metadata import EntryPoint

import pytest

from kanoclip_jax import models
from kanoclip_jax.backbones import Clip
from kanoclip_jax.errors import InputError
from kanoclip_jax.models import METHODS, all_methods, build_method
from kanoclip_jax.models.kanoclip import Kanoclip


def test_settings_are_constructor_keywords(clip: Clip) -> None:
    method = build_method(
        "kanoclip", clip=clip, settings={"sigma": 2.0, "taps": (1, 4)}
    )
    assert isinstance(method, Kanoclip)
    assert (method.sigma, method.taps, method.clip) == (2.0, (1, 4), clip)
    assert METHODS["kanoclip"] is Kanoclip


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("kanoclp", {}, "method 'kanoclp' is unknown; did you mean 'kanoclip'?"),
        ("kanoclip", {"sigmma": 1}, r"model\.sigmma is unknown; did you mean 'sigma'?"),
        ("kanoclip", {"zzz": 1}, r"model\.zzz is unknown; allowed: abnormal_states, "),
        ("kanoclip", {"clip": 1}, r"model\.clip is unknown"),
        ("kanoclip", {"taps": (5,)}, "taps holds 5; this CLIP has blocks 1 to 4"),
        ("kanoclip", {"taps": (0, 4)}, "taps holds 0"),
        ("kanoclip", {"normal_states": ()}, "need a word each"),
        ("kanoclip", {"knowledge_scope": "all"}, "scope is 'all'; allowed: class, gl"),
        ("kanoclip", {"image_feature": "x"}, "feature is 'x'; allowed: post_layernorm"),
        ("kanoclip", {"bica_groups": 5}, "bica_groups 5 does not divide the joint"),
        ("kanoclip", {"bica_groups": 3}, "bica_groups 3 does not divide model.bica_w"),
        ("kanoclip", {"bica_heads": 7}, "bica_heads 7 does not divide"),
        (
            "median",
            {"temperature": 1},
            "temperature is unknown; .*allowed: sigma, taps",
        ),
        ("probe", {"taps": (9,)}, "taps holds 9; this CLIP has blocks 1 to 4"),
    ],
)
def test_wrong_names_and_values_are_refused(
    clip: Clip, name: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        build_method(name, clip=clip, settings=settings)


@pytest.mark.parametrize("value", ["nowhere.to.be.found:Method", "math:Method"])
def test_another_package_s_method_that_cannot_be_imported_is_named(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint(name="theirs", value=value, group=models.ENTRY_POINTS)
    monkeypatch.setattr(models, "entry_points", lambda group: [entry])
    for read in (lambda: models.method_class("theirs"), lambda: [*all_methods()]):
        with pytest.raises(InputError, match=f"'theirs' is {value}.*install"):
            read()
    assert models.method_class("clip") is METHODS["clip"]
