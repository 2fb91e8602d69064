"""A Ray cluster's jobs, through the HTTP interface of its dashboard. Needs no Ray on this side."""

import http.client
import json
import os
import queue
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

ADDRESS_VARIABLE = "ELBO_ROOM_RAY"
TOKEN_VARIABLE = "RAY_AUTH_TOKEN"
PORT = 8265
ANSWER_SECONDS = 5.0
"""A cluster that takes longer to answer is not there."""

LONGEST = 1_000_000
"""Bytes of an answer that are read."""

Answer = dict[str, Any]


class NoCluster(OSError):
    """The cluster cannot train; the message is a sentence that says why."""


@dataclass(frozen=True)
class Dashboard:
    """The dashboard at a URL. Every question is answered in time or raises NoCluster."""

    url: str

    @staticmethod
    def at(address: str) -> "Dashboard":
        """Raises ValueError for what is no address."""
        try:
            parts = urlsplit(address if "://" in address else f"http://{address}")
            host, port = parts.hostname, parts.port or PORT
        except ValueError:
            parts, host, port = urlsplit(""), None, PORT
        extra = parts.username or parts.path.strip("/") or parts.query
        if parts.scheme not in ("http", "https") or not host or extra:
            raise ValueError(
                f"{ADDRESS_VARIABLE} must be the address of a Ray cluster's dashboard, such as http://head:{PORT}; "
                f"got {address[:80]!r}"
            )
        return Dashboard(f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}")

    def check(self) -> None:
        """Whether a Ray cluster answers."""
        if "ray_version" not in self._ask("/api/version"):
            raise self._stranger()

    def submit(self, job: str, command: str, environment: dict[str, str], seconds: float) -> str:
        """Runs a command on the head node under a name that no job has had; gives that name."""
        body = {"submission_id": job, "entrypoint": command, "runtime_env": {"env_vars": environment}}
        self._ask("/api/jobs/", body, seconds)
        return job

    def check_job(self, job: str) -> None:
        """Raises NoCluster if it has ended, with the last thing it said."""
        answer = self._ask(f"/api/jobs/{job}")
        if answer.get("status") in ("FAILED", "STOPPED"):
            said = str(answer.get("message")).strip().splitlines()[-1]
            raise NoCluster(f"The Ray cluster at {self.url} cannot run Elbo Room: {said}.")

    def _ask(self, path: str, body: Any = None, seconds: float = ANSWER_SECONDS) -> Answer:
        """What is answered within so many seconds in all: names that nobody resolves and answers that drip in have no
        timeout of their own, so that a thread waits for them. The connection's timeout only lets that thread go: it is
        longer, so that it never speaks first."""
        answers: queue.Queue[Answer | NoCluster] = queue.Queue()
        threading.Thread(target=lambda: answers.put(self._exchange(path, body, 2 * seconds)), daemon=True).start()
        try:
            answer = answers.get(timeout=seconds)
        except queue.Empty:
            answer = self._silent(f"nothing within {seconds:.0f} s")
        if isinstance(answer, NoCluster):
            raise answer
        return answer

    def _exchange(self, path: str, body: Any, seconds: float) -> Answer | NoCluster:
        headers = {"Content-Type": "application/json"}
        if os.environ.get(TOKEN_VARIABLE):
            headers["Authorization"] = f"Bearer {os.environ[TOKEN_VARIABLE]}"
        data = None if body is None else json.dumps(body).encode()
        question = urllib.request.Request(f"{self.url}{path}", data, headers)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(question, timeout=seconds) as answer:
                return dict(json.loads(answer.read(LONGEST)))
        except urllib.error.HTTPError as error:
            wants = f"it wants its token in {TOKEN_VARIABLE}" if error.code in (401, 403) else f"HTTP {error.code}"
            return NoCluster(f"The Ray cluster at {self.url} refuses: {wants}.")
        except (ValueError, TypeError, http.client.HTTPException):
            return self._stranger()
        except OSError as error:
            return self._silent(str(getattr(error, "reason", error)))

    def _silent(self, why: str) -> NoCluster:
        return NoCluster(f"The Ray cluster at {self.url} does not answer ({why}).")

    def _stranger(self) -> NoCluster:
        return NoCluster(f"What answers at {self.url} is no Ray dashboard.")
