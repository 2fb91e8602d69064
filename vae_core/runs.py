"""A run is a folder, and the only thing between the trainer and the app. This module knows its layout.

config.json      the recipe                          status.json    state, reason, progress; replaced atomically
metrics.jsonl    one line per report                 owner          whose run it is (a random key), if anybody's
requests/        what the owner wants, in order      lock           held by the worker for as long as it lives
changes.jsonl    settings changed while it trained   step.json      the last single step, number by number
worker.log       what the worker printed             checkpoints/<step>/{model,trainer}.safetensors
marks.json       tags, note, pinned, shared           snapshots/<step>.safetensors  means, lattice, reconstructions
"""

import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from vae_core import durable, elsewhere
from vae_core.config import Config
from vae_core.durable import write_atomically
from vae_core.locks import held, holding
from vae_core.mailbox import Mailbox, Request, RequestKind
from vae_core.model import HelmholtzMachine
from vae_core.rules import check
from vae_core.steering import Change, steered
from vae_core.thinning import superfluous
from vae_core.training import new_model
from vae_core.waiting import Queue

RUNS_VARIABLE = "ELBO_ROOM_RUNS"
KEPT_CHECKPOINTS = 8
KEPT_SNAPSHOTS = 300
QUEUE_PATIENCE = 30.0
TAIL = 5

State = Literal["queued", "preparing", "running", "paused", "finished", "stopped", "failed"]
ACTIVE: tuple[State, ...] = ("queued", "preparing", "running", "paused")

Row = dict[str, Any]
"""One report, a line of metrics.jsonl: numbers, and under "changed" the settings that hold since the last."""


class DamagedRun(ValueError):
    """A file of the folder is missing or unreadable; the message says which and why."""


@dataclass(frozen=True)
class Status:
    """Where a run stands. `seconds` is time spent training, `updated` seconds since 1970; `rate` in examples/s and
    `left`, the seconds that the rest takes, go by the last reports; a step takes `pace` seconds at least."""

    state: State
    reason: str = ""
    step: int = 0
    total_steps: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    left: float = 0.0
    pace: float = 0.0
    updated: float = 0.0

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def done(self) -> float:
        """The share of all steps that is done."""
        return self.step / max(self.total_steps, 1)


def runs_root() -> Path:
    """The folder of ELBO_ROOM_RUNS, else `runs` beside the code."""
    named = os.environ.get(RUNS_VARIABLE)
    return Path(named).expanduser() if named else Path(__file__).parent.parent / "runs"


class Run:
    """One run folder. Everything is read from the disk at every call; nothing is remembered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def id(self) -> str:
        return self.folder.name

    def _text(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DamagedRun(f"{name} cannot be read: {error}") from error

    def config(self) -> Config:
        """Raises DamagedRun."""
        try:
            config = Config.from_json(self._text("config.json"))
            check(config)
        except DamagedRun:
            raise
        except ValueError as error:
            raise DamagedRun(f"config.json: {error}") from error
        return config

    def recorded_status(self) -> Status:
        """What status.json says. Raises DamagedRun."""
        try:
            return Status(**json.loads(self._text("status.json")))
        except (json.JSONDecodeError, TypeError) as error:
            raise DamagedRun(f"status.json: {error}") from error

    def status(self) -> Status:
        """What status.json says, corrected where the worker died without a word. Raises DamagedRun."""
        status = self.recorded_status()
        if not status.active or self.locked():
            return status
        status = self.recorded_status()  # the worker may have ended between the two looks
        if not status.active:
            return status
        if elsewhere.handed_over(self.folder):
            return replace(status, state="queued", reason=elsewhere.waits_for(self.folder))
        if status.state == "queued":
            if Queue(self.folder.parent).find(self.id) or time.time() - status.updated < QUEUE_PATIENCE:
                return status
            return replace(status, state="failed", reason=self._unsaid("No worker took the run."))
        return replace(status, state="failed", reason=self._unsaid("The worker died."))

    def _unsaid(self, what: str) -> str:
        """Why a worker may have ended without a word."""
        return " ".join(filter(None, (what, durable.complaint(self.folder), self.log_tail())))

    def write_status(self, status: Status) -> None:
        """The progress of a run need not outlive a power cut, its other states do."""
        text = json.dumps(asdict(replace(status, updated=time.time())))
        write_atomically(self.folder / "status.json", text.encode(), lasting=status.state != "running")

    def log(self, lines: int) -> str:
        """The last lines that its workers have printed."""
        path = self.folder / "worker.log"
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        return "\n".join(text.strip().splitlines()[-lines:])

    def log_tail(self) -> str:
        tail = self.log(TAIL)
        return f"End of its log: {tail}" if tail else ""

    @property
    def owner(self) -> str:
        try:
            return (self.folder / "owner").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def lock(self) -> AbstractContextManager[None]:
        """Held by the worker. The system releases it at its death, however it dies. Raises BlockingIOError if held."""
        return holding(self.folder / "lock")

    def locked(self) -> bool:
        return held(self.folder / "lock")

    @property
    def mailbox(self) -> Mailbox:
        return Mailbox(self.folder / "requests")

    def request(self, kind: RequestKind, **settings: Any) -> None:
        """Asks the worker for something."""
        self.mailbox.ask(kind, settings)

    def requests(self) -> list[Request]:
        return self.mailbox.pending()

    def requested(self, kind: RequestKind) -> bool:
        return any(request.kind == kind for request in self.requests())

    def forget_requests(self) -> None:
        self.mailbox.forget()

    def log_change(self, change: Change) -> None:
        """Remembers a change of settings before it is obeyed: a resumed run changes at the same step."""
        durable.append_line(self.folder / "changes.jsonl", change.to_json(), lasting=True)

    def changes(self) -> list[Change]:
        """Every change so far; a last line that was cut short is none. Raises DamagedRun."""
        path = self.folder / "changes.jsonl"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        try:
            return [Change.from_json(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        except ValueError as error:
            raise DamagedRun(f"changes.jsonl: {error}") from error

    def present_config(self) -> Config:
        """The recipe with every change so far. Raises DamagedRun."""
        config = self.config()
        for change in self.changes():
            config = steered(config, change.settings)
        return config

    def write_trace(self, trace: dict[str, Any]) -> None:
        """What happened in the last single step."""
        write_atomically(self.folder / "step.json", json.dumps(trace).encode(), lasting=False)

    def trace(self) -> dict[str, Any] | None:
        path = self.folder / "step.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def traced(self) -> int:
        """When the last single step was written down, in nanoseconds since 1970; 0 if none was."""
        path = self.folder / "step.json"
        return path.stat().st_mtime_ns if path.is_file() else 0

    def log_row(self, row: Row) -> None:
        """Adds a report, which lasts from the next checkpoint on."""
        durable.append_line(self.folder / "metrics.jsonl", json.dumps(row))

    def metrics(self, offset: int = 0) -> tuple[bytes, int]:
        """Whole lines appended since byte `offset`, and the offset after them. (b"", 0) if no line ends there: the file
        was written anew."""
        path = self.folder / "metrics.jsonl"
        if not path.is_file() or path.stat().st_size < offset:
            return b"", 0
        with path.open("rb") as file:
            file.seek(max(0, offset - 1))
            if offset and file.read(1) != b"\n":
                return b"", 0
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        return whole, offset + len(whole)

    def rows(self) -> list[Row]:
        """Every report so far. Raises DamagedRun."""
        try:
            return [json.loads(line) for line in self.metrics()[0].splitlines()]
        except json.JSONDecodeError as error:
            raise DamagedRun(f"metrics.jsonl: {error}") from error

    def keep_rows_until(self, step: int) -> None:
        """Drops reports of steps that will be trained again, and lines that nobody can read. Of several reports of one
        step it makes one."""
        kept: dict[int, Row] = {}
        for line in self.metrics()[0].splitlines():
            with suppress(ValueError, KeyError, TypeError):
                row = json.loads(line)
                at = int(row["step"])
                kept[at] = kept.get(at, {}) | row
        text = "".join(json.dumps(row) + "\n" for at, row in kept.items() if at <= step).encode()
        if text != self.metrics()[0]:
            write_atomically(self.folder / "metrics.jsonl", text)

    def checkpoints(self) -> list[Path]:
        """Whole checkpoints, oldest first."""
        return sorted(p for p in self.folder.glob("checkpoints/*") if p.name.isdecimal())

    def resumable(self) -> list[Path]:
        """Checkpoints from which training can go on, oldest first: those of imported runs may be weights alone."""
        return [path for path in self.checkpoints() if (path / "trainer.safetensors").is_file()]

    def write_checkpoint(self, step: int, parameters: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Both files appear at once, by the renaming of their folder. They last, as do earlier reports and snapshots;
        of many older ones some are removed."""
        target = self.folder / "checkpoints" / f"{step:09d}"
        if target.is_dir():
            return
        with durable.appearing(target) as draft:
            save_tensors(draft / "model.safetensors", parameters)
            save_tensors(draft / "trainer.safetensors", state)
            for name in ("metrics.jsonl", "snapshots", "."):
                if (self.folder / name).exists():
                    durable.sync(self.folder / name)
        checkpoints = {int(path.name): path for path in self.checkpoints()}
        for old in superfluous(list(checkpoints), KEPT_CHECKPOINTS):
            durable.vanish(checkpoints[old])

    def snapshots(self) -> list[int]:
        """Steps at which there is a snapshot, in order."""
        return sorted(int(p.stem) for p in self.folder.glob("snapshots/*.safetensors") if p.stem.isdecimal())

    def snapshot_path(self, step: int) -> Path:
        return self.folder / "snapshots" / f"{step:09d}.safetensors"

    def write_snapshot(self, step: int, tensors: dict[str, Tensor]) -> None:
        path = self.snapshot_path(step)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, _packed(tensors), lasting=False)
        for old in superfluous(self.snapshots(), KEPT_SNAPSHOTS):
            self.snapshot_path(old).unlink(missing_ok=True)

    def keep_snapshots_until(self, step: int) -> None:
        """Drops what has not happened yet for a run that goes on from there."""
        for later in self.snapshots():
            if later > step:
                self.snapshot_path(later).unlink(missing_ok=True)

    def clear_drafts(self) -> None:
        """Removes what a worker that died had begun to write; only who holds the lock may do it."""
        for name in ("checkpoints", "snapshots"):
            durable.clear_drafts(self.folder / name, older=0.0)
        for folder in (self.folder, self.mailbox.folder):
            durable.clear_drafts(folder)


def _packed(tensors: dict[str, Tensor]) -> bytes:
    return save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    durable.write(path, _packed(tensors))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Raises DamagedRun."""
    try:
        return load_file(path)
    except (OSError, SafetensorError, RuntimeError) as error:  # the last where it goes after it has been found
        raise DamagedRun(f"{path.name} cannot be read: {error}") from error


def new_folder(config: Config) -> Path:
    """Where a new run of a recipe may lie, under a name nobody can guess."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{config.dataset}-{config.model.latent}d-{secrets.token_hex(8)}"
    return runs_root() / name


def public(run_id: str) -> str:
    """What a run may be called before everybody: its own name, which nobody can guess, lets them look at it."""
    return re.sub("-[0-9a-f]{16}$", "", run_id)


def create(config: Config, owner: str = "") -> Run:
    """A new run in state queued. Raises ValueError for impossible settings."""
    return create_at(new_folder(config), config, owner)


def create_at(folder: Path, config: Config, owner: str = "") -> Run:
    """A new run in a folder of the caller's choice, which appears whole or not at all."""
    with appearing(folder, config, owner):
        pass
    return Run(folder)


@contextmanager
def appearing(folder: Path, config: Config, owner: str) -> Iterator[Run]:
    """A queued run under another name, to which more can be added: it takes its own when the block ends, and is nothing
    if the block fails. Raises ValueError for impossible settings."""
    check(config)
    with durable.appearing(folder) as draft:
        durable.clear_drafts(folder.parent)
        durable.write(draft / "config.json", config.to_json().encode())
        durable.write(draft / "owner", owner.encode())
        run = Run(draft)
        run.write_status(Status("queued"))
        yield run


RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def find(run_id: str) -> Run | None:
    """The run of that name; None where there is none, or the text is no name at all."""
    folder = runs_root() / run_id
    return Run(folder) if RUN_ID.fullmatch(run_id) and folder.is_dir() else None


def listed_all() -> list[Run]:
    """Everybody's runs, newest first, damaged ones included."""
    root = runs_root()
    if not root.is_dir():
        return []
    with os.scandir(root) as found:
        names = [entry.name for entry in found if RUN_ID.fullmatch(entry.name) and entry.is_dir()]
    return [Run(root / name) for name in sorted(names, reverse=True)]


def listed(owner: str = "") -> list[Run]:
    """The owner's runs, newest first, damaged ones included."""
    return [run for run in listed_all() if run.owner == owner]


def weights_file(folder: Path) -> Path:
    """`model.safetensors` of a published model, else of the newest checkpoint. Raises DamagedRun."""
    published = folder / "model.safetensors"
    if published.is_file():
        return published
    for checkpoint in reversed(Run(folder).checkpoints()):
        if (checkpoint / "model.safetensors").is_file():
            return checkpoint / "model.safetensors"
    raise DamagedRun("no model.safetensors: the run has not written a checkpoint yet")


def load_model(folder: Path) -> tuple[Config, HelmholtzMachine]:
    """The trained model of a run folder or a published model, on the CPU. Raises DamagedRun."""
    config = Run(folder).config()
    model = new_model(config)
    try:
        model.load_state_dict(load_tensors(weights_file(folder)))
    except RuntimeError as error:
        raise DamagedRun(f"model.safetensors does not fit config.json: {error}") from error
    return config, model.requires_grad_(False).eval()
