"""Routes and headers of the real server."""

import json
import struct
import urllib.error
import urllib.request
from http.client import HTTPMessage
from pathlib import Path

import numpy as np
import pytest

from tests.app.conftest import App
from ui.resources import explored, locate
from vae_core.defaults import recipe
from vae_core.runs import Run, Status


def get(url: str) -> tuple[int, bytes, HTTPMessage]:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.status, response.read(), response.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


@pytest.fixture
def run(app: App) -> Run:
    """A finished run with three reports, the last one still being written."""
    folder = app.runs / "20260101-000000-digits-2d-0123456789abcdef"
    folder.mkdir(exist_ok=True)
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


def test_a_new_browser_gets_an_owner_key_that_scripts_cannot_read(app: App) -> None:
    keys = {get(app.url)[2]["set-cookie"] for _ in range(2)}
    assert len(keys) == 2
    assert all("HttpOnly" in key and "SameSite=Strict" in key for key in keys)


def test_metrics_are_served_from_an_offset_in_whole_lines(app: App, run: Run) -> None:
    status, body, headers = get(f"{app.url}/api/runs/{run.id}/metrics")
    assert (status, body, headers["X-Next"]) == (200, b'{"step": 1}\n{"step": 2}\n', "24")
    _, body, headers = get(f"{app.url}/api/runs/{run.id}/metrics?from=12")
    assert (body, headers["X-Next"]) == (b'{"step": 2}\n', "24")
    _, body, headers = get(f"{app.url}/api/runs/{run.id}/metrics?from=999")
    assert (body, headers["X-Next"]) == (b"", "0")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/runs/..%2f..%2fetc/metrics", 400),
        ("/api/runs/.hidden/metrics", 404),
        ("/api/runs/none/metrics", 404),
        ("/api/runs/none/snapshots/1", 404),
        ("/api/models/..%2fvae_core/plane", 400),
        ("/api/models/digits-2d/plane?x=0&y=2", 422),
        ("/api/models/digits-2d/plane?x=zero", 422),
        ("/api/models/digits-2d/plane?x=-1", 422),
    ],
)
def test_bad_requests_are_refused_with_a_sentence(app: App, path: str, status: int) -> None:
    got, body, _ = get(app.url + path)
    assert got == status
    if b"error" in body:
        assert json.loads(body)["error"].endswith((".", "1"))
    else:
        assert status == 400  # Streamlit refuses slashes in disguise before any route


def test_the_plane_of_a_model_places_every_point(app: App) -> None:
    status, body, _ = get(f"{app.url}/api/models/digits-2d/plane")
    assert status == 200
    length = struct.unpack_from("<I", body)[0]
    header = json.loads(body[4 : 4 + length])
    assert header["axes"] == ["z₁", "z₂"]
    assert [blob["name"] for blob in header["blobs"]] == ["points", "labels", "tiles"]
    points = np.frombuffer(body, "<i2", header["blobs"][0]["length"] // 2, 4 + length).reshape(-1, 2)
    thing = explored(locate("digits-2d") or Path())
    assert np.abs(points * header["quantum"] - thing.means.numpy()).max() <= header["quantum"]
    tiles = header["blobs"][2]["length"]
    assert tiles == header["side"] ** 2 * header["tile"][0] * header["tile"][1]
