"""What docs/deploy.md and its files name is there: variables, options, files, links. Containers are not run here."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from streamlit import config as streamlit_config

from ui.resources import PRETRAINED
from vae_core.limits import Limits

PROJECT = Path(__file__).parents[1]
DEPLOY = PROJECT / "docs" / "deploy"
COMPOSE = sorted(DEPLOY.glob("*.yaml"))
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
FILES = [DEPLOY / "Caddyfile", DEPLOY / "Dockerfile", *COMPOSE, *PAGES]

OURS = re.compile(r"\bELBO_ROOM_[A-Z_]+")
THEIRS = re.compile(r"\bSTREAMLIT_[A-Z_]+")
OPTION = re.compile(r"`((?:browser|client|global|logger|runner|server)\.(?!py`)[a-zA-Z]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)|\bsrc=\"([^\"]+)\"")
HEALTH = re.compile(r"/_stcore/health\w*")

SERVICE_KEYS = {
    "build", "cap_drop", "command", "cpuset", "depends_on", "deploy", "environment", "image", "init", "mem_limit",
    "network_mode", "ports", "restart", "secrets", "security_opt", "shm_size", "volumes",
}  # fmt: skip
"""Of https://github.com/compose-spec/compose-spec/blob/main/spec.md those that may be used here."""


def named(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def compose(path: Path) -> dict[str, Any]:
    return yaml.safe_load(text_of(path))


def services() -> list[Any]:
    """Every service of every file."""
    return [
        pytest.param(path, service, id=f"{path.stem}-{name}")
        for path in COMPOSE
        for name, service in compose(path)["services"].items()
    ]


@cache
def variables_read() -> frozenset[str]:
    """The variables of ours that the code names."""
    sources = [path for folder in ("vae_core", "ui", "pages") for path in (PROJECT / folder).rglob("*.py")]
    nodes = (node for path in sources for node in ast.walk(ast.parse(text_of(path))))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return frozenset(text for text in texts if OURS.fullmatch(text))


def slug(heading: str) -> str:
    """The anchor that a heading gets where Markdown is shown."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def broken(page: Path, text: str) -> list[str]:
    """The relative links of a page that lead to no file, or to no heading of one."""
    found = ["".join(groups) for groups in LINK.findall(text)]
    return [link for link in found if not re.match(r"[a-z]+:", link) and not leads(page, link)]


def leads(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    if not target.exists() or not anchor:
        return target.exists()
    return anchor in {slug(heading) for heading in re.findall(r"^#+ (.+)$", text_of(target), re.MULTILINE)}


def copied() -> set[Path]:
    """What the image takes from the project."""
    lines = re.findall(r"^COPY (.+) \S+$", text_of(DEPLOY / "Dockerfile"), re.MULTILINE)
    return {PROJECT / source for line in lines for source in line.split()}


def imported(path: Path) -> Iterator[str]:
    """The first names of the modules that a file imports."""
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", COMPOSE, ids=named)
def test_volumes_and_secrets_that_services_name_are_there(path: Path) -> None:
    file = compose(path)
    for service in file["services"].values():
        sources = {mount.split(":")[0] for mount in service.get("volumes", [])}
        folders = {source for source in sources if source.startswith(("/", "."))} | {"${SHARED"}
        assert sources - folders <= set(file.get("volumes", {}))
        for source in sources:
            assert not source.startswith("./") or (path.parent / source).exists()
        assert {secret["source"] for secret in service.get("secrets", [])} <= set(file.get("secrets", {}))


@pytest.mark.parametrize(("path", "service"), services())
def test_services_are_of_known_keys_and_build_what_there_is(path: Path, service: dict[str, Any]) -> None:
    assert service.keys() <= SERVICE_KEYS
    assert all(isinstance(value, str) for value in service.get("environment", {}).values())
    build = service.get("build")
    if build:
        context = (path.parent / build["context"]).resolve()
        assert context == PROJECT
        stages = re.findall(r"^FROM \S+ AS (\w+)$", text_of(context / build["dockerfile"]), re.MULTILINE)
        assert build["target"] in stages


@pytest.mark.parametrize("name", ["one", "class", "lab", "public"])
def test_every_set_up_keeps_runs_and_data(name: str) -> None:
    apps = [s for s in compose(DEPLOY / f"{name}.yaml")["services"].values() if s["image"].startswith("elbo-room")]
    assert apps
    for service in apps:
        assert {mount.rsplit(":", 1)[1] for mount in service["volumes"]} == {"/runs", "/data"}


def test_a_public_site_has_replicas_that_the_proxy_knows() -> None:
    replicas = compose(DEPLOY / "public.yaml")["services"].keys() - {"proxy"}
    upstreams = re.findall(r"^\s*reverse_proxy (.+) \{$", text_of(DEPLOY / "Caddyfile"), re.MULTILINE)
    assert [set(line.split()) for line in upstreams] == [{f"{name}:8501" for name in replicas}]
    assert len(replicas) >= 2


ROW = re.compile(r"^\| `(\w+)` \|(.+)\|.+\|$", re.MULTILINE)
DEFAULTS = {limit.metadata["variable"]: str(limit.default) for limit in fields(Limits)}


@pytest.mark.parametrize(("variable", "cells"), ROW.findall(text_of(DEPLOY.with_suffix(".md"))))
def test_the_page_says_what_the_files_set(variable: str, cells: str) -> None:
    names = ("one", "class", "lab", "public")
    for name, cell in zip(names, cells.split("|"), strict=True):
        service = next(s for s in compose(DEPLOY / f"{name}.yaml")["services"].values() if s["image"] == "elbo-room")
        value = service.get("environment", {}).get(variable)
        number = re.match(r"\d+", cell.strip())
        if number:
            assert number[0] == (value or DEFAULTS[variable])
        else:
            assert (cell.strip() in ("–", "cores")) == (value is None)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_variables_are_read_by_the_code(path: Path) -> None:
    assert set(OURS.findall(text_of(path))) <= variables_read()


@pytest.mark.parametrize("path", FILES, ids=named)
def test_options_are_those_of_streamlit(path: Path) -> None:
    options = streamlit_config.get_config_options()
    assert set(OPTION.findall(text_of(path))) <= options.keys()
    assert set(THEIRS.findall(text_of(path))) <= {option.env_var for option in options.values()}


def test_every_variable_of_the_code_is_explained() -> None:
    assert {variable for variable, _ in ROW.findall(text_of(DEPLOY.with_suffix(".md")))} >= DEFAULTS.keys()
    assert {name for page in PAGES for name in OURS.findall(text_of(page))} == variables_read()


def test_the_image_takes_what_there_is_and_all_that_the_app_imports() -> None:
    sources = copied()
    assert {path.relative_to(PROJECT) for path in sources if not path.exists()} == set()
    assert PRETRAINED in sources
    assert PROJECT / ".streamlit" not in sources  # secrets lie there
    files = [file for path in sources for file in (path.rglob("*.py") if path.is_dir() else [path])]
    wanted = {name for file in files if file.suffix == ".py" for name in imported(file)}
    assert {name for name in wanted if (PROJECT / name).is_dir()} <= {path.name for path in sources}


def test_the_image_has_a_user_of_its_own_and_volumes_where_the_code_looks() -> None:
    text = text_of(DEPLOY / "Dockerfile")
    last = text[text.rindex("FROM ") :]
    assert re.findall(r"^USER (\w+)$", last, re.MULTILINE) == re.findall(
        r"^RUN useradd .* (\w+) &&", text, re.MULTILINE
    )
    (volumes,) = re.findall(r"^VOLUME (.+)$", text, re.MULTILINE)
    settings = dict(re.findall(r"\b(ELBO_ROOM_\w+)=(\S+)", text))
    assert sorted(json.loads(volumes)) == sorted(settings[name] for name in ("ELBO_ROOM_RUNS", "ELBO_ROOM_DATA"))


def test_health_is_asked_where_the_server_answers() -> None:
    asked = set(HEALTH.findall(text_of(PROJECT / "scripts" / "serving.py")))
    assert len(asked) == 1
    for path in (DEPLOY / "Dockerfile", DEPLOY / "Caddyfile", PROJECT / "docs" / "deploy.md"):
        assert set(HEALTH.findall(text_of(path))) == asked


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page, text_of(page)) == []


def test_the_checks_would_see_what_is_wrong() -> None:
    page = PROJECT / "docs" / "deploy.md"
    wrong = '[a](missing.md) [b](ray.md#no-such-heading) ![c](pictures/none.png) <img src="none.svg">'
    assert broken(page, wrong) == ["missing.md", "ray.md#no-such-heading", "pictures/none.png", "none.svg"]
    assert broken(page, "[a](ray.md#what-every-node-needs) [b](https://example.org) [c](#replicas)") == []
    assert "ELBO_ROOM_WORKER" not in variables_read()
    assert "ELBO_ROOM_WORKERS" in variables_read()
    assert OPTION.findall("`server.py`, `server.enableCORS`") == ["server.enableCORS"]
