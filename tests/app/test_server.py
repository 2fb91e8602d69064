"""Routes and headers of the real server."""

import gzip
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from email.message import Message
from urllib.parse import parse_qsl

import numpy as np
import pytest

from scripts.serving import PROJECT
from tests.app.conftest import App
from tests.app.messages import opened, unpacked
from ui.address import read
from ui.layers import LAYER_MAKERS, SIDE
from ui.payload import decoder_message, plane_message
from ui.planes import limits, view_of
from ui.resources import explored
from ui.shared import MOMENT
from vae_core import runs
from vae_core.defaults import recipe
from vae_core.runs import Run, Status

ROUTES = ["plane", "layers/holes", "decoder", "example"]
LONG = "9" * 5_000


def get(url: str, **headers: str) -> tuple[int, bytes, Message]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as response:
            return response.status, response.read(), response.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


@pytest.fixture
def run(app: App) -> Run:
    """A finished run with three reports, the last one still being written."""
    folder = app.runs / f"20260101-000000-digits-2d-{secrets.token_hex(8)}"
    folder.mkdir()
    made = Run(folder)
    (folder / "config.json").write_text(recipe("digits").to_json())
    (folder / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    made.write_status(Status("finished"))
    return made


def test_every_response_carries_the_security_headers(app: App) -> None:
    for path in ("/", "/api/plotly.js", "/api/runs/none/metrics"):
        _, _, headers = get(app.url + path)
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_heavy_answers_travel_packed_where_that_makes_them_smaller(app: App) -> None:
    sizes = {}
    for path in ("plotly.js", "models/digits-2d/plane", "models/digits-2d/decoder"):
        url = f"{app.url}/api/{path}"
        _, plain, said = get(url)
        _, sent, headers = get(url, **{"Accept-Encoding": "gzip"})
        assert said["content-encoding"] == "identity"
        if headers["content-encoding"] == "gzip":
            assert gzip.decompress(sent) == plain
        sizes[path] = len(sent) / len(plain)
    assert sizes["plotly.js"] < 0.4
    assert sizes["models/digits-2d/plane"] < 0.8
    assert sizes["models/digits-2d/decoder"] == 1.0


def test_before_the_first_visitor_all_is_imported_that_pages_need(app: App) -> None:
    """Up to 0.3 s each, that the first would wait for, and all others beside."""
    look = (
        "import asyncio, sys, app\n"
        "async def live():\n"
        "    async with app.server.lifespan(None):\n"
        "        print(*sys.modules)\n"
        "asyncio.run(live())"
    )
    command = [sys.executable, "-c", look]
    environment = {**os.environ, runs.RUNS_VARIABLE: str(app.runs)}
    said = subprocess.run(command, cwd=PROJECT, env=environment, check=True, capture_output=True, text=True).stdout
    needed = {"pandas", "plotly", "streamlit.emojis", "ui.tools", "ui.runs.chosen", "ui.sweeps.form", "ui.live_curves"}
    assert not needed - set(said.split())


def test_a_new_browser_gets_an_owner_key_that_scripts_cannot_read(app: App) -> None:
    keys = {get(app.url)[2]["set-cookie"] for _ in range(2)}
    assert len(keys) == 2
    assert all("HttpOnly" in key and "SameSite=Lax" in key for key in keys)


def test_metrics_are_served_from_an_offset_in_whole_lines(app: App, run: Run) -> None:
    status, body, headers = get(f"{app.url}/api/runs/{run.id}/metrics")
    assert (status, body, headers["X-Next"]) == (200, b'{"step": 1}\n{"step": 2}\n', "24")
    _, body, headers = get(f"{app.url}/api/runs/{run.id}/metrics?from=12")
    assert (body, headers["X-Next"]) == (b'{"step": 2}\n', "24")
    _, body, headers = get(f"{app.url}/api/runs/{run.id}/metrics?from=999")
    assert (body, headers["X-Next"]) == (b"", "0")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (Status("paused", step=7, total_steps=70), "Paused at step 7 of 70 (10%)"),
        (Status("running", step=7, total_steps=70), "10%"),
        (Status("running", step=7, total_steps=70, rate=1234.5, left=75.0), "10% · 1,234 examples/s · 1 min 15 s left"),
        (Status("preparing"), "Preparing: reading the data …"),
    ],
    ids=lambda part: part.state if isinstance(part, Status) else "",
)
def test_the_pulse_tells_how_far_a_run_is(app: App, run: Run, status: Status, text: str) -> None:
    address = f"{app.url}/api/runs/{run.id}/pulse"
    with run.lock():
        run.write_status(status)
        answer, body, headers = get(address)
        assert (answer, headers["cache-control"]) == (200, "no-store")
        told = json.loads(body)
        expected = {"state": status.state, "stopping": False, "pace": 0.0, "traced": 0, "step": status.step}
        assert told == {**expected, "done": pytest.approx(status.step / 70), "text": text}
        run.write_trace({"step": status.step})
        run.request("stop")
        time.sleep(MOMENT)
        told = json.loads(get(address)[1])
        assert told["stopping"]
        assert told["traced"] > 0
        assert (told["text"] == "Stopping: keeping the partial model …") == (status.state != "preparing")
    time.sleep(MOMENT)
    assert json.loads(get(address)[1])["state"] == "failed"
    (run.folder / "status.json").write_text("{")
    time.sleep(MOMENT)
    assert get(address)[0] == 422


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/runs/none/pulse", 404),
        ("/api/runs/..%2f..%2fetc/metrics", 400),
        ("/api/runs/.hidden/metrics", 404),
        ("/api/runs/none/metrics", 404),
        ("/api/runs/none/snapshots/1", 404),
        ("/api/models/..%2fvae_core/plane", 400),
        (f"/api/runs/RUN/snapshots/{LONG}", 404),
        (f"/api/runs/RUN/metrics?from={LONG}", 422),
        ("/api/runs/RUN/metrics?from=%D9%A3", 422),
        *((f"/api/models/none/{route}", 404) for route in ROUTES),
        *((f"/api/models/digits-2d/{route}?data=train", 422) for route in ROUTES),
        *((f"/api/models/digits-2d/{route}?axes=0_2", 422) for route in ROUTES),
        ("/api/models/digits-2d/plane?axes=0", 422),
        ("/api/models/digits-2d/plane?axes=zero", 422),
        ("/api/models/digits-2d/plane?axes=-1_0", 422),
        ("/api/models/digits-2d/plane?kind=points", 422),
        ("/api/models/digits-2d/plane?kind=points&anchors=0_0~1_1~2_2", 422),
        ("/api/models/digits-2d/plane?kind=tsne", 422),
        ("/api/models/digits-2d/plane?kind=tsne&data=test", 422),
        ("/api/models/digits-2d/plane?base=1e9_0", 422),
        ("/api/models/digits-2d/layers/images", 404),
        ("/api/models/digits-2d/layers/holes?kind=umap", 422),
        *((f"/api/models/digits-2d/example?i={number}", 422) for number in ("", "-1", "256", "1.0", "%D9%A3", LONG)),
    ],
    ids=lambda part: str(part)[:60],
)
def test_bad_requests_are_refused_with_a_sentence(app: App, run: Run, path: str, status: int) -> None:
    got, body, _ = get(app.url + path.replace("RUN", run.id))
    assert got == status
    if b"error" in body:
        sentence = json.loads(body)["error"]
        assert sentence.endswith(".")
        assert not sentence.endswith("..")
        assert len(sentence) < 300
    else:
        assert status == 400  # Streamlit refuses slashes in disguise before any route


def test_the_plane_of_a_model_places_every_point(app: App) -> None:
    status, body, headers = get(f"{app.url}/api/models/digits-2d/plane?kind=axes&axes=1_0")
    assert status == 200
    assert "immutable" in headers["cache-control"]
    message = unpacked(body)
    assert message.header["axes"] == ["z₂", "z₁"]
    assert set(message.blobs) == {"points", "labels", "tiles"}
    means = opened("digits-2d")[1].means.flip(1).numpy()
    assert np.abs(message.points - means).max() <= message.header["quantum"]


@pytest.mark.parametrize(
    "words", ["kind=principal", "kind=points&anchors=0_0~1_0~0_-1&base=0.5_0.5", "v=1&layer=holes"]
)
def test_planes_are_asked_for_in_the_words_of_an_address(app: App, words: str) -> None:
    folder, thing = opened("digits-2d")
    address, notices = read(dict(parse_qsl(words)), "digits-2d", limits(thing))
    assert notices == []
    _, body, _ = get(f"{app.url}/api/models/digits-2d/plane?{words}")
    served, made = unpacked(body), unpacked(plane_message(thing, view_of(folder, address)))
    assert served.header["basis"] == [pytest.approx(row, abs=1e-6) for row in made.header["basis"]]
    assert np.abs(served.blobs["tiles"].astype(int) - made.blobs["tiles"]).max() <= 1


@pytest.mark.parametrize("layer", LAYER_MAKERS)
def test_layers_are_served_as_grids(app: App, layer: str) -> None:
    status, body, _ = get(f"{app.url}/api/models/digits-2d/layers/{layer}?kind=principal")
    assert status == 200
    assert unpacked(body).blobs["grid"].shape == (SIDE**2,)


def test_the_decoder_is_served_as_its_numbers(app: App) -> None:
    status, body, _ = get(f"{app.url}/api/models/digits-2d/decoder")
    assert (status, body) == (200, decoder_message(opened("digits-2d")[1]))


@pytest.mark.parametrize("words", ["i=0", "i=255", "i=2&data=sample", "i=255&data=test", "i=1796&data=all"])
def test_examples_are_served_as_their_bytes(app: App, words: str) -> None:
    asked = dict(parse_qsl(words))
    data = explored(opened("digits-2d")[0], asked.get("data", "sample")).data
    status, body, _ = get(f"{app.url}/api/models/digits-2d/example?{words}")
    assert (status, body) == (200, data.x[int(asked["i"])].numpy().tobytes())


def test_a_run_without_a_checkpoint_says_so(app: App, run: Run) -> None:
    for route in ROUTES:
        status, body, _ = get(f"{app.url}/api/models/{run.id}/{route}")
        assert status == 422
        assert "has not written a checkpoint yet" in json.loads(body)["error"]
