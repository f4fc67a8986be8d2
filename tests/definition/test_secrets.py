"""The place of a build's secrets in its definition."""

from dataclasses import replace

import pytest

from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.parts import with_mount_point
from hpcdeploy.definition.pixi import render_pixi
from hpcdeploy.errors import DefinitionError
from hpcdeploy.image import Secret, Step
from tests.definition.samples import GPU

SETTINGS = replace(
    GPU.settings,
    setup=(Step(run="true"), Step(run="first\nsecond", secrets=("TOKEN", "cert"))),
    secrets=(Secret(name="TOKEN", env="OTHER"), Secret(name="cert", file="~/cert")),
)
RECIPE = replace(GPU, settings=SETTINGS, secrets=("cert",))
STEP = """
    (
        # Request these secrets from hpcdeploy, which provides them until this subshell ends. A trace would print them.
        { set +x; } 2>/dev/null
        set -- TOKEN cert
        . /run/secrets/.ask
        TOKEN=$(cat /run/secrets/TOKEN)
        export TOKEN
first
second

    )
    # Request no secrets, so that hpcdeploy removes the earlier ones even if the step left programs running.
    ( set -- && . /run/secrets/.ask )
"""


def test_a_step_asks_by_name_and_nothing_says_where_a_value_is() -> None:
    text = render_pixi(RECIPE)
    assert STEP in text
    assert "set -- cert\n" in text
    assert "OTHER" not in text
    assert "~/cert" not in text


def test_every_stage_makes_the_place_before_its_own_sections() -> None:
    plain = render_pixi(RECIPE)
    text = with_mount_point(plain)
    stages = check_definition(text)
    assert [stage.section("setup").count('mkdir -p "$rootfs/run/secrets"') for stage in stages] == [1] * len(stages)
    assert [stage.header for stage in stages] == [stage.header for stage in check_definition(plain)]


@pytest.mark.parametrize(
    "text",
    [
        "Bootstrap: docker\nFrom: x",
        "# words\nBootstrap: docker\nFrom: x\n\n%setup\n    own\n\n%post\n    true\n",
        "bootstrap: docker\nFrom: x\nStage: a\n  # more\n%POST\n    true\nBOOTSTRAP: docker\nFrom: y\n",
    ],
)
def test_a_definition_that_somebody_wrote_keeps_all_else(text: str) -> None:
    before, after = check_definition(text), check_definition(with_mount_point(text))
    for old, new in zip(before, after, strict=True):
        assert new.header == old.header
        assert new.section("post") == old.section("post")
        assert new.section("setup").endswith(old.section("setup"))
        assert "mkdir -p" in new.section("setup")


def test_a_step_that_asks_for_a_secret_that_nothing_describes_is_refused() -> None:
    with pytest.raises(DefinitionError, match="uses the secret 'cert', which 'secrets' does not define"):
        render_pixi(replace(RECIPE, settings=replace(SETTINGS, secrets=SETTINGS.secrets[:1])))
