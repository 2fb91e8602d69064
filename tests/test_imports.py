"""Imports go down only: app -> pages -> ui -> vae_core, and in order inside vae_core."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
LAYERS = [
    {"noise", "elsewhere", "dashboard"},
    {"team", "distributions", "networks", "config", "profiles", "planes", "paths", "traversals", "separation"},
    {"durable", "locks", "thinning", "limits", "zipped", "examples"},
    {"mapped"},
    {"shards"},
    {
        "magnification",
        "gaussians",
        "flows",
        "pixels",
        "autoencoder",
        "families",
        "bounds",
        "datasets",
        "framing",
        "sharding",
    },
    {"likelihoods", "posteriors", "intake"},
    {"priors"},
    {"model"},
    {"estimators", "optimisers", "evaluation", "geometry", "portable"},
    {"quadrature", "sampling", "moments", "rules", "defaults"},
    {"aggregate", "closed_form", "generation", "steering", "cards"},
    {"gaps", "holes", "ranges", "waiting", "mailbox"},
    {"training"},
    {"runs", "snapshots", "trace"},
    {"worker", "publish", "evaluation_command", "marks", "trash", "comparing", "history", "forking", "reports"},
    {"parallel", "nursery"},
    {"launch", "command", "overview", "troubles", "again", "importing"},
    {"embedding", "grid", "readings", "launch_ray", "housekeeping", "archive", "tensorboard"},
    {"diagnosis", "foreman", "dispatch", "sweep", "sweeps"},
]
"""Of vae_core, lowest first. A module imports modules of lower layers only."""

RANKS = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
APP = {"streamlit", "plotly", "ui", "pages", "app"}


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All of a module but what runs only when it is the program."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "__name__" in ast.unparse(child.test):
            continue
        yield child
        yield from statements(child)


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files(folder: str) -> list[Path]:
    return sorted((PROJECT / folder).rglob("*.py"))


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def siblings(path: Path) -> set[str]:
    """The modules of vae_core that a file imports."""
    return {name.split(".")[1] for name in imported(path) if name.startswith("vae_core.")}


def test_every_module_of_the_core_has_a_layer() -> None:
    assert {path.stem for path in files("vae_core")} - {"__init__"} == set(RANKS)


@pytest.mark.parametrize("path", files("vae_core"), ids=lambda path: path.stem)
def test_the_core_never_imports_the_app(path: Path) -> None:
    assert not tops(path) & APP


@pytest.mark.parametrize("name", sorted(RANKS))
def test_the_core_imports_downwards(name: str) -> None:
    upwards = {used for used in siblings(PROJECT / "vae_core" / f"{name}.py") if RANKS[used] >= RANKS[name]}
    assert not upwards


def test_the_checks_would_see_a_wrong_import(tmp_path: Path) -> None:
    source = (
        "import streamlit as st\ndef f():\n    from vae_core import launch\n    from vae_core.worker import train\n"
    )
    path = tmp_path / "wrong.py"
    path.write_text(source)
    assert tops(path) == {"streamlit", "vae_core"}
    assert siblings(path) == {"launch", "worker"}


@pytest.mark.parametrize("path", files("ui"), ids=lambda path: str(path.relative_to(PROJECT)))
def test_ui_never_imports_pages(path: Path) -> None:
    assert not tops(path) & {"pages", "app", "tests", "benchmarks"}


@pytest.mark.parametrize("path", files("pages"), ids=lambda path: str(path.relative_to(PROJECT)))
def test_pages_never_import_each_other(path: Path) -> None:
    assert not tops(path) & {"pages", "app", "tests", "benchmarks"}
