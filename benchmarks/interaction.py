"""How long does one wait on the Explore page? Hovering, clicking, opening, moving, turning, a hundred clicking at once.

The server is started as `make run` starts it, with a real Chromium before it; what needs neither is taken in Python.
`--only` measures some parts: hover, click, opening, motion, axes, payload, atlas, clients.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import sync_playwright
from torch.nn.functional import grid_sample

from benchmarks import interaction_browser as browsing
from benchmarks.interaction_browser import Stage
from benchmarks.interaction_clients import MODEL
from benchmarks.loop import JUDGING, Clock, show, stream
from scripts.serving import BROWSER_ARGUMENTS, PATIENCE, PROJECT, chromium, serve
from ui.address import Address
from ui.controls import CONV_WIDTHS
from ui.payload import atlas_nodes, decoder_message, plane_message
from ui.planes import flat
from ui.resources import PRETRAINED, explored, pretrained_names
from vae_core import runs
from vae_core.defaults import recipe
from vae_core.geometry import nodes, to_bytes
from vae_core.launch import LocalLauncher

LATENT, STEPS = 20, 20
"""Of the convolutional model, which need not be good: how fast it answers depends on its shape alone."""
PLANE_BYTES, ATLAS_ERROR = 3_000_000, 0.02
"""Targets: bytes of a plane, and mean absolute difference of values in [0, 1]."""
ATLAS_PLACES = 1000

IN_BROWSER: dict[str, Callable[[Stage], dict[str, Any]]] = {
    "hover": browsing.hover,
    "click": browsing.click,
    "opening": browsing.opening,
    "motion": browsing.motion,
    "axes": browsing.axes,
}


def payload(seed: int) -> dict[str, Any]:
    """Bytes that travel to the browser for the leading plane of every shipped model, with the most points there are."""
    found = {}
    for name in pretrained_names():
        thing = explored(PRETRAINED / name, "all")
        size = len(plane_message(thing, flat(thing, Address(name))))
        weights = decoder_message(thing)
        sizes = {"points": len(thing.data), "plane": size, "decoder": len(weights or b"")}
        found[name] = {**sizes, "target_plane": PLANE_BYTES, "met": size <= PLANE_BYTES}
    return found


def atlas(seed: int) -> dict[str, Any]:
    """How far an atlas is from exact decoding, for every shipped model, as if its decoder could not travel."""
    return {name: _atlas_error(name, seed) for name in pretrained_names()}


def _atlas_error(name: str, seed: int) -> dict[str, Any]:
    """At places uniform over the leading plane; interpolated by torch, rounded to grey levels as in the browser."""
    thing = explored(PRETRAINED / name)
    drawn = flat(thing, Address(name))
    assert drawn.plane is not None
    count = atlas_nodes(thing.data.x.shape[1])
    decoded = to_bytes(thing.decode(drawn.plane.latents(nodes(count, drawn.extent)))).float()
    places = 2 * torch.rand(ATLAS_PLACES, 2, generator=stream(seed, JUDGING)) - 1  # rows of the atlas run downwards
    sheet, where = decoded.mT.reshape(1, -1, count, count), (places * torch.tensor([1.0, -1.0]))[None, None]
    between = grid_sample(sheet, where, align_corners=True)[0, :, 0].mT.round() / 255
    away = (between - thing.decode(drawn.plane.latents(places * drawn.extent)).clamp(0, 1)).abs()
    error = away.mean().item()
    worst = away.mean(1).max().item()
    return {
        "nodes": count,
        "mean": error,
        "worst_image": worst,
        "target_mean": ATLAS_ERROR,
        "met": error <= ATLAS_ERROR,
    }


IN_PYTHON = {"payload": payload, "atlas": atlas}
PARTS = (*IN_BROWSER, *IN_PYTHON, "clients")


def convolutional(scratch: Path) -> str:
    """The id of a new run of a convolutional MNIST model of the app's default size, stopped after its first steps."""
    os.environ[runs.RUNS_VARIABLE] = str(scratch)
    config, launcher = recipe("mnist", LATENT), LocalLauncher()
    run = runs.create(replace(config, model=replace(config.model, network="conv", widths=CONV_WIDTHS)))
    launcher.start(run)
    while run.status().active:
        time.sleep(0.2)
        if run.status().step >= STEPS:
            run.request("stop")
    launcher.close()
    return run.id


@contextmanager
def staged(url: str, scratch: Path, given: argparse.Namespace) -> Iterator[Stage]:
    """A browser before the server, and the models that are looked at."""
    path = chromium()
    if path is None:
        raise SystemExit("no Chromium on this machine: install the system's package chromium")
    run = convolutional(scratch) if {"click", "axes"}.intersection(given.only) else ""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_ARGUMENTS)
        yield Stage(url, browser, run, given.repeats, given.loads, given.seed)
        browser.close()


def clients(url: str, given: argparse.Namespace) -> dict[str, Any]:
    """Many at once, from a process that loads no torch; the server has the model and its landscape already."""
    urllib.request.urlopen(f"{url}/api/models/{MODEL}/layers/holes", timeout=PATIENCE).close()
    options = [f"--{name}={getattr(given, name)}" for name in ("clients", "seconds", "seed")]
    command = [sys.executable, "-m", "benchmarks.interaction_clients", url, *options]
    return json.loads(subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE).stdout)


def measured(given: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in filter(given.only.__contains__, IN_PYTHON):
        found[name] = IN_PYTHON[name](given.seed)
        clock.say(name)
    in_browser = [name for name in IN_BROWSER if name in given.only]
    with tempfile.TemporaryDirectory() as scratch, serve(Path(scratch)) as url:
        if in_browser:
            with staged(url, Path(scratch), given) as stage:
                for name in in_browser:
                    found[name] = IN_BROWSER[name](stage)
                    clock.say(name)
        if "clients" in given.only:
            found["clients"] = clients(url, given)
            clock.say("clients")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--repeats", type=int, default=60, help="of what is done on an open page")
    parser.add_argument("--loads", type=int, default=12, help="of the page, after one that warms the server")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0, help="that the clients click, each every 2 s")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    before = os.getloadavg()
    found = measured(given, Clock())
    show({"load_before": before, "load_after": os.getloadavg(), "torch_threads": torch.get_num_threads(), **found})


if __name__ == "__main__":
    main()
