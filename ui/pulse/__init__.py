"""The pulse of a run that waits or trains: how far it is, asked of a route and drawn in place.

The page itself runs again only when there is something to be seen that it has not drawn: many who watch cost little.
"""

from pathlib import Path
from typing import Any

from streamlit.components.v2 import component

from ui.resources import dispatcher
from ui.words import clock, queue_line
from vae_core.runs import Run, Status

HERE = Path(__file__).parent


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


_component = component("elbo_room.pulse", html=_read("pulse.html"), css=_read("pulse.css"), js=_read("pulse.js"))


def signs(run: Run, status: Status) -> dict[str, Any]:
    """What the route tells of a run: its state, whether it is about to stop, its pace, when it last did a single step,
    how many steps it has done, the share of all that is, and all this in words."""
    stopping = run.requested("stop")
    return {
        "state": status.state,
        "stopping": stopping,
        "pace": status.pace,
        "traced": run.traced(),
        "step": status.step,
        "done": status.done,
        "text": _words(run, status, stopping),
    }


def _words(run: Run, status: Status, stopping: bool) -> str:
    turn = dispatcher().queue.turn(run.id) if status.state == "queued" else 0
    if turn:
        return queue_line(turn, dispatcher().at_limit(run.owner))
    if status.state in ("queued", "preparing"):
        return status.reason or "Preparing: reading the data …"
    if stopping:
        return "Stopping: keeping the partial model …"
    if status.state == "paused":
        return f"Paused at step {status.step:,} of {status.total_steps:,} ({status.done:.0%})"
    if not status.rate:
        return f"{status.done:.0%}"
    return f"{status.done:.0%} · {status.rate:,.0f} examples/s · {clock(status.left)} left"


def pulse(run: Run, seen: dict[str, Any], graph_of: int | None) -> None:
    """Shows signs of life, and has the fragment run again that calls this, once they say what it did not know: another
    state or pace, a single step, or that the step is long past whose graph it has drawn."""
    data = {"url": f"/api/runs/{run.id}/pulse", "seen": seen, "graph": graph_of}
    _component(key=f"pulse-{run.id}", data=data, on_news_change=lambda: None)
