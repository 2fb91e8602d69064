"""A real Ray cluster of two nodes on this machine, and addresses at which there is none."""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from scripts.serving import PROJECT, free_port
from tests.test_launch import SMALL, assert_fully_trained, lasting, wait_for_state, wait_for_step, wait_until
from vae_core import elsewhere, launch_ray, runs
from vae_core.dashboard import ANSWER_SECONDS, TOKEN_VARIABLE, Dashboard
from vae_core.launch_ray import RayLauncher
from vae_core.runs import Run

RAY = Path(sys.executable).parent / "ray"
NODES = ("head", "other")
NODE_VARIABLE = "ELBO_ROOM_TEST_NODE"
TRIES = 3
PATIENCE = 120
"""Seconds for what takes 10 on an idle machine."""

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    # a lost node is noticed within a second, not within half a minute
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "300",
    "RAY_health_check_failure_threshold": "3",
    "RAY_worker_niceness": "0",
    "PYTHONPATH": str(PROJECT),
    "PATH": f"{RAY.parent}:{os.environ['PATH']}",
}


def processes(node: str) -> list[int]:
    """Everything that was started on a node: what it starts inherits its environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{NODE_VARIABLE}={node}\0".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def kill(node: str) -> None:
    """All at once, as a node dies that loses its power."""
    while found := processes(node):
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


@dataclass(frozen=True)
class Cluster:
    """Two nodes with a processor each; the second says it has a GPU."""

    address: str
    token: str
    name: str

    def node(self, name: str) -> str:
        return f"{self.name}-{name}"

    def trains_on(self, run: Run) -> str:
        """The node on which a process holds the run's lock."""
        for name in NODES:
            for pid in processes(self.node(name)):
                with suppress(OSError):
                    if any(os.readlink(fd) == str(run.folder / "lock") for fd in Path(f"/proc/{pid}/fd").iterdir()):
                        return name
        return ""


@pytest.fixture
def cluster(runs_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    if not RAY.exists():
        message = "no Ray here: pip install -r requirements-ray.txt"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    runs_folder.mkdir()
    session = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # the paths of its sockets must be short
    gcs, dashboard, client = free_port(), free_port(), free_port()
    cluster = Cluster(f"127.0.0.1:{dashboard}", secrets.token_hex(16), session.name)
    for name, value in {**SETTINGS, TOKEN_VARIABLE: cluster.token}.items():
        monkeypatch.setenv(name, value)
    head = f"--head --port {gcs} --dashboard-port {dashboard} --ray-client-server-port {client} --temp-dir {session}"
    other = f"--address 127.0.0.1:{gcs} --num-gpus 1"
    joining = threading.Thread(target=start_node, args=(cluster.node("other"), other))
    try:
        start_node(cluster.node("head"), head)
        joining.start()  # while the first runs are handed over
        yield cluster
    finally:
        if joining.ident:
            joining.join()
        for name in NODES:
            kill(cluster.node(name))
        shutil.rmtree(session, ignore_errors=True)


def start_node(node: str, how: str) -> None:
    """Ray gives a node 30 seconds, which is little on a busy machine: it is tried again."""
    common = "--num-cpus 1 --object-store-memory 80000000 --dashboard-agent-listen-port 0 --disable-usage-stats"
    for _ in range(TRIES):
        command = [RAY, "start", *how.split(), *common.split()]
        settings = {**os.environ, NODE_VARIABLE: node}
        if subprocess.run(command, env=settings, start_new_session=True, timeout=PATIENCE).returncode == 0:
            return
        kill(node)
    raise AssertionError(f"the node {node} does not start")


def nodes_of(run: Run) -> list[str]:
    """The nodes of the cluster on which it trained, as its log says."""
    return re.findall(r"Ray node (\w+)", run.log(99))


def test_a_cluster_of_two_nodes_trains_and_survives_the_loss_of_one(cluster: Cluster) -> None:
    # what wants a GPU is sent to the node that says it has one; that there is none is the run's to find out
    graphic = runs.create(replace(SMALL, device="cuda"))
    launcher = RayLauncher(cluster.address)
    launcher.start(graphic)
    assert graphic.status().state == "queued"
    launcher.close()  # the app ends, whether somebody has taken the run or not, and is started again
    launcher = RayLauncher(cluster.address)
    launcher.prepare()
    assert launcher.pending(graphic)
    wait_for_state(graphic, "failed", PATIENCE)
    assert graphic.status().reason == "device is 'cuda', but 0 CUDA devices are here; use 'cpu'"

    # two runs train on two nodes
    first, second, third = (runs.create(lasting(400)) for _ in range(3))
    for run in (first, second):
        run.request("pause")  # before the first step, until it is this run's turn below
        launcher.start(run)
    wait_until(lambda: all(run.recorded_status().state == "paused" for run in (first, second)), PATIENCE)
    nodes = {cluster.trains_on(run): run for run in (first, second)}
    assert set(nodes) == set(NODES)
    assert nodes_of(graphic) == nodes_of(nodes["other"]) != nodes_of(nodes["head"])

    # what finds no place waits, and is cancelled while it does
    launcher.start(third)
    wait_until(lambda: third.status().reason == "Waiting for a free processor of the Ray cluster.", PATIENCE)
    assert launcher.places() == 2
    third.request("stop")
    wait_for_state(third, "stopped", PATIENCE)
    assert (third.status().step, third.rows()) == (0, [])
    wait_until(lambda: not launcher.pending(third), 5)

    # the other node is lost, with the run that it trains
    lost, kept = nodes["other"], nodes["head"]
    lost.request("resume")
    wait_for_step(lost, 1)
    lost.request("pause")
    wait_until(lambda: int(lost.checkpoints()[-1].name) > 0, PATIENCE)
    checkpoint = int(lost.checkpoints()[-1].name)
    assert checkpoint < 4000
    lost.request("resume")
    wait_for_step(lost, checkpoint + 1)
    lost_node = nodes_of(lost)
    kill(cluster.node("other"))
    wait_for_state(lost, "queued", PATIENCE)  # a killed process keeps its locks for a moment
    kept.request("stop")
    wait_for_state(kept, "stopped", PATIENCE)
    wait_until(lost.locked, PATIENCE)
    assert cluster.trains_on(lost) == "head"
    wait_for_state(lost, "finished", PATIENCE)
    steps = [row["step"] for row in lost.rows()]
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (1, 4000)
    assert_fully_trained(lost)
    assert nodes_of(lost) == [*lost_node, *nodes_of(kept)]

    # GPUs went with that node
    graphic = runs.create(replace(SMALL, device="cuda"))
    launcher.start(graphic)
    sentence = "Waiting for a GPU: no node of the Ray cluster has one at present."
    wait_until(lambda: graphic.status().reason == sentence, PATIENCE)
    graphic.request("stop")
    wait_until(lambda: not elsewhere.names(runs.runs_root()), PATIENCE)
    assert graphic.status().state == "stopped"
    launcher.close()


@pytest.fixture
def server() -> Iterator[Callable[[dict[str, tuple[int, str]]], str]]:
    """Answers with a status and a text by path, else with 404; gives its address."""
    started: list[HTTPServer] = []

    def serve(answers: dict[str, tuple[int, str]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path = self.path if self.path in answers else self.path.rpartition("/")[0]
                status, text = answers.get(path, (404, "not here"))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            do_POST = do_GET

            def log_message(self, *args: object) -> None:
                """Not on the screen."""

        started.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=started[0].serve_forever, daemon=True).start()
        return f"127.0.0.1:{started[0].server_port}"

    yield serve
    started[0].shutdown()
    started[0].server_close()


def refused(address: str, seconds: float = ANSWER_SECONDS + 1) -> str:
    """Why a run failed that was handed over; nothing of it is lost, and nobody waits for it any more."""
    run = runs.create(SMALL)
    launcher = RayLauncher(address)
    begin = time.monotonic()
    launcher.start(run)
    assert time.monotonic() - begin < 0.2  # a page waits for it
    wait_until(lambda: not run.status().active, seconds)
    wait_until(lambda: not launcher.pending(run), 5)  # its entry goes once its state is written
    launcher.close()
    assert run.status().state == "failed"
    assert run.config() == SMALL
    return run.status().reason


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_an_address_that_does_not_answer_is_refused_within_five_seconds(silent: str) -> None:
    assert refused(f"127.0.0.1:{free_port()}", 1.0).endswith(
        "does not answer ([Errno 111] Connection refused). Nothing is lost: train it on this machine, or there later."
    )
    assert f"The Ray cluster at http://{silent} does not answer (nothing within 5 s). Nothing" in refused(silent)


VERSION = {"/api/version": (200, '{"ray_version": "2.60.0"}')}
TAKEN = {**VERSION, "/api/jobs/": (200, "{}")}
FAILED = '{"status": "FAILED", "message": "exit code 1, last logs:\\nModuleNotFoundError: No module named vae_core\\n"}'


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ({"/api/version": (200, "<html>a router</html>")}, "What answers at http://{} is no Ray dashboard."),
        ({"/api/version": (200, "{}")}, "What answers at http://{} is no Ray dashboard."),
        ({}, "The Ray cluster at http://{} refuses: HTTP 404."),
        ({"/api/version": (401, "")}, "The Ray cluster at http://{} refuses: it wants its token in RAY_AUTH_TOKEN."),
        (
            {**TAKEN, "/api/jobs": (200, FAILED)},
            "The Ray cluster at http://{} cannot run Elbo Room: ModuleNotFoundError: No module named vae_core.",
        ),
        (
            {**TAKEN, "/api/jobs": (200, '{"status": "RUNNING"}')},
            "The Ray cluster at http://{} does not see the runs of this app: ELBO_ROOM_RUNS must name the same folder, "
            "on shared storage, on every node.",
        ),
    ],
)
def test_a_cluster_that_cannot_train_says_why(
    server: Callable[[dict[str, tuple[int, str]]], str],
    answers: dict[str, tuple[int, str]],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch_ray, "START_SECONDS", 0.5)
    address = server(answers)
    assert refused(address) == f"{sentence.format(address)} {launch_ray.INSTEAD}"


def test_runs_that_the_cluster_had_wait_for_its_return_and_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch_ray, "ROUND_SECONDS", 0.1)
    waiting, cancelled, gone = (runs.create(replace(SMALL, seed=seed)) for seed in range(3))
    for run in (waiting, cancelled, gone):
        elsewhere.hand_over(run.folder, "Waiting for a free processor of the Ray cluster.")
    waiting.write_status(replace(waiting.recorded_status(), state="running", step=7))  # its node was lost too
    shutil.rmtree(gone.folder)
    cancelled.request("stop")
    launcher = RayLauncher(f"127.0.0.1:{free_port()}")
    launcher.prepare()
    wait_for_state(cancelled, "stopped")
    wait_until(lambda: "does not answer" in waiting.status().reason, 5)
    assert (waiting.status().state, waiting.status().step) == ("queued", 7)
    wait_until(lambda: elsewhere.names(runs.runs_root()) == [waiting.id], 5)
    launcher.close()


def test_whatever_goes_wrong_with_one_run_others_are_looked_after(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(launch_ray, "ROUND_SECONDS", 0.1)
    launcher = RayLauncher(f"127.0.0.1:{free_port()}")
    damaged, whole = (runs.create(replace(SMALL, seed=seed)) for seed in range(2))
    (damaged.folder / "status.json").write_text("{")
    with monkeypatch.context() as patched:
        patched.setattr(Dashboard, "check", lambda dashboard: {}["an answer that nobody expects"])
        launcher.start(damaged)
        wait_until(lambda: "could not be looked after" in caplog.text, 10)
    launcher.start(whole)
    wait_until(lambda: not whole.status().active, 20)
    assert "does not answer" in whole.status().reason
    launcher.close()


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("head", "http://head:8265"),
        ("10.0.0.7:9000", "http://10.0.0.7:9000"),
        ("https://ray.example.org/", "https://ray.example.org:8265"),
        ("http://[::1]:8265", "http://[::1]:8265"),
    ],
)
def test_addresses(address: str, url: str) -> None:
    assert Dashboard.at(address).url == url


@pytest.mark.parametrize(
    "address", ["", "ray://head:10001", "http://", "head:port", "http://u:p@head", "head/path", "[::1"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"ELBO_ROOM_RAY must be the address of a Ray cluster's dashboard, such as"):
        RayLauncher(address)
