"""Tests of ui.threads in processes of their own: a library asks for its threads once, when it is loaded."""

import importlib
import json
import os
import subprocess
import sys

import pytest

from ui.threads import VARIABLE, no_helpers
from vae_core.limits import CORES

LOOK = """
import json, os, sys
from contextlib import nullcontext
from threading import Thread
from ui.threads import VARIABLE, no_helpers

with no_helpers() if sys.argv[1] == "without" else nullcontext():
    import torch
from threadpoolctl import threadpool_info

found = []
thread = Thread(target=lambda: found.extend(p["num_threads"] for p in threadpool_info() if p["user_api"] == "openmp"))
thread.start()
thread.join()
print(json.dumps([found, os.environ.get(VARIABLE)]))
"""


def looked(how: str, said: str | None) -> tuple[list[int], str | None]:
    """How many threads a new thread's computation takes, and what processes started later would be told."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if said is not None:
        environment[VARIABLE] = said
    command = [sys.executable, "-c", LOOK, how]
    counts, told = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    assert counts, "torch computes without OpenMP here"
    return counts, told


@pytest.mark.parametrize("said", [None, "2"])
def test_a_thread_of_the_server_computes_alone_and_workers_take_what_was_said(said: str | None) -> None:
    counts, told = looked("without", said)
    assert set(counts) == {1}
    assert told == said


def test_without_it_every_thread_would_have_helpers() -> None:
    assert set(looked("with", None)[0]) == {CORES}


def test_what_was_said_comes_back_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "3")
    with pytest.raises(ModuleNotFoundError), no_helpers():
        importlib.import_module("no_such_library")
    assert os.environ[VARIABLE] == "3"
