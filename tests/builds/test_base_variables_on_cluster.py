"""Variables of base images with characters that Apptainer 1.4 quotes wrong: each kind of image gets them as they stand."""

from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.flows.build import build_on
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import BuiltImage, ImageSettings, Step
from hpcdeploy.registry.lookup import image_config
from hpcdeploy.source import DockerfileSource, OciSource, PixiSource
from hpcdeploy.transport.contract import Transport
from hpcdeploy_lab.state import Lab
from tests.builds.container_images import with_variables
from tests.builds.test_build_on_cluster import shell
from tests.builds.test_pixi_on_cluster import MANIFEST, lock, write
from tests.sessions import session

ODD = {
    "JSON": '{"a": 1, "b": "\\n"}',
    "BACKQUOTE": "`id`",
    "DOLLAR": "$HOME and ${X} and $(id)",
    "WINDOWS": "C:\\dir\\",
    "LINES": "first\nsecond\tend",
    "BRACES": 'it\'s } "}" {',
    "LIST": "{,}",
    "PLAIN": "a b",
}
PRINT = 'for name; do eval "printf \'%s=<%s>\\\\n\' $name \\"\\${$name-unset}\\""; done'
SAID = "".join(f"{name}=<{value}>\n" for name, value in ODD.items())
KINDS = ("pixi", "dockerfile", "oci")


@pytest.fixture(scope="module")
def reference(lab: Lab) -> str:
    return with_variables(lab, ODD).push(lab, "odd-variables/pixi")


def settings_of(kind: str, reference: str) -> ImageSettings:
    keep = Step(run='printf %s "$JSON$BACKQUOTE$LINES" > /opt/said-in-setup')
    if kind == "pixi":
        return ImageSettings(name=kind, source=PixiSource(), base=reference, setup=(keep,))
    if kind == "oci":
        return ImageSettings(name=kind, source=OciSource(reference=reference), setup=(keep,))
    return ImageSettings(name=kind, source=DockerfileSource())


@pytest.fixture(scope="module", params=KINDS)
def image(
    request: pytest.FixtureRequest,
    reference: str,
    place: Cluster,
    transport: Transport,
    tmp_path_factory: pytest.TempPathFactory,
) -> BuiltImage:
    """An image of each kind, built on the same base."""
    head = MANIFEST.partition("[pypi-dependencies]")[0].replace(', cuda = "12.9"', "")
    run = 'RUN printf %s "$JSON$BACKQUOTE$LINES" > /opt/said-in-setup\n'
    files = {"pixi.toml": head, "pixi.lock": lock(), "Dockerfile": f"FROM {reference}\n{run}"}
    folder = write(tmp_path_factory.mktemp("odd"), **files)
    definition = generate(settings_of(request.param, reference), folder, image_config=image_config)
    return build_on(definition, session(place, transport))


@pytest.mark.parametrize("verb", ["exec", "exec --cleanenv"])
def test_the_variables_are_the_base_image_s_as_they_stand(image: BuiltImage, transport: Transport, verb: str) -> None:
    assert shell(transport, f'PLAIN=host apptainer {verb} "$@"', image.path, "sh", "-c", PRINT, "sh", *ODD) == SAID


def test_no_start_reports_an_error(image: BuiltImage, transport: Transport) -> None:
    said = shell(transport, 'apptainer exec "$1" true 2>&1', image.path)
    assert "10-docker2singularity.sh" not in said
    assert "syntax error" not in said


def test_the_build_s_own_steps_see_them_too(image: BuiltImage, transport: Transport) -> None:
    kept = shell(transport, 'apptainer exec "$1" cat /opt/said-in-setup', image.path)
    assert kept == ODD["JSON"] + ODD["BACKQUOTE"] + ODD["LINES"]


def test_apptainer_alone_loses_them(reference: str, place: Cluster, transport: Transport, tmp_path: Path) -> None:
    """Where this fails, the lab's Apptainer is 1.5 or later, and ``defs/parts/base_variables.def`` has nothing to do."""
    (tmp_path / "defs").mkdir()
    text = "Bootstrap: docker\nFrom: [= final.source =]\n\n%arguments\n    ENVIRONMENT=default\n\n%post\n    true\n"
    (tmp_path / "defs/pixi.def").write_text(text)
    head = MANIFEST.partition("[pypi-dependencies]")[0].replace(', cuda = "12.9"', "")
    write(tmp_path, **{"pixi.toml": head, "pixi.lock": lock()})
    settings = replace(settings_of("pixi", reference), setup=())
    built = build_on(generate(settings, tmp_path), session(place, transport))
    said = shell(transport, 'apptainer exec "$1" sh -c "$2" sh JSON PLAIN 2>/dev/null', built.path, PRINT)
    assert said != f"JSON=<{ODD['JSON']}>\nPLAIN=<a b>\n"
