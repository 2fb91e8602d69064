"""The process that trains one run and writes its folder. It imports no part of the app.

A worker warms up, waits for one line on standard input, the run's folder, and trains it: that is how a spare worker
turns a click into a first point at once. Workers are born in a nursery (`vae_core.nursery`).
"""

import gc
import math
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import torch

from vae_core import datasets, durable
from vae_core.config import Config, ModelConfig, ScheduleConfig
from vae_core.datasets import Split
from vae_core.evaluation import Evaluation, evaluate
from vae_core.likelihoods import LIKELIHOODS
from vae_core.mailbox import Request
from vae_core.runs import DamagedRun, Row, Run, Status, load_tensors
from vae_core.snapshots import Axes, snapshot
from vae_core.steering import STEERABLE, Change, Settings, differences, steered
from vae_core.team import ALONE, Team
from vae_core.trace import gradient_norms, traced
from vae_core.training import StepInfo, Trainer, choose_device, fit, generator_for

IMPORTED_LATE = ("torch._dynamo", "torchvision.datasets", "sklearn.datasets")
"""What torch imports with the first optimiser, and `vae_core.datasets` with the first look at data."""
REPORT_SECONDS = 0.25
SNAPSHOT_SECONDS = 1.0
CHECKPOINT_SECONDS = 10.0
OVERHEAD = 30.0
"""A look at the held-out data waits for this many times what the last one cost: at most 3 % of the time."""
WRITING = 80.0
"""So does the writing of a report, and that of a checkpoint: at most 2.5 % of the time together."""

THREADS = torch.get_num_threads()
SMALL = 20_000_000
"""Multiplications of a forward step below which a second thread costs more than it brings."""

HELD_OUT = 2_000
RECENT = 10
"""Reports by which the pace is told: one alone may hold a look or a checkpoint."""

PAUSE_SECONDS = 0.02
SLOWEST = 10.0
"""Seconds between two looks at the requests while a run waits, and the longest that a slow step may take."""

Progress = Callable[[Status, Row], None]


class Diverged(ArithmeticError):
    """The objective is no longer a finite number; the message says when, why and what to try."""


def diverged(what: str, info: StepInfo) -> Diverged:
    return Diverged(
        f"{what} at step {info.step} (epoch {info.epoch:.2f}): the updates were too large. Try a smaller learning rate "
        f"than {info.learning_rate:.3g} (a tenth of it), or a larger batch. "
        "The last good checkpoint, if there is one yet, is kept."
    )


@dataclass
class Clock:
    """When something is next due: after an interval, or later if it is expensive or the run is long: each further
    `slices` times cost as much time as the run took until then."""

    interval: float
    slices: int = 60
    due: float = 0.0
    overhead: float = OVERHEAD

    def passed(self, now: float) -> bool:
        return now >= self.due

    def restart(self, now: float, cost: float = 0.0, elapsed: float = 0.0) -> None:
        self.due = now + max(self.interval, self.overhead * cost, elapsed / self.slices)


class Recorder:
    """Turns steps into reports, snapshots and checkpoints of one run folder, each when its time has come."""

    def __init__(self, run: Run, trainer: Trainer, held_out: Split, status: Status, progress: Progress) -> None:
        self.progress = progress
        self.run, self.trainer, self.held_out, self.status = run, trainer, held_out, status
        self.window: list[StepInfo] = []
        self.latest: StepInfo | None = None
        rows = run.rows()
        self.last_row: Row = rows[-1] if rows else {}
        self.said = self.held = reported_config(run.config(), rows)
        self.axes = last_axes(run)
        self.looked = -1  # the step of the last look
        self.writing = 0.0
        self.before = status.seconds
        self.start = time.monotonic()
        self.reported = deque([(self.start, trainer.step)], RECENT)
        self.report_clock = Clock(REPORT_SECONDS, slices=400, overhead=WRITING)
        self.look_clock = Clock(SNAPSHOT_SECONDS)
        self.checkpoint_clock = Clock(CHECKPOINT_SECONDS, overhead=WRITING)
        self.checkpoint_clock.restart(self.start)

    def seconds(self) -> float:
        return self.before + time.monotonic() - self.start

    def pause(self) -> None:
        """It is told at once; then what was reached is reported and looked at, and the clock stands still."""
        self.status = replace(self.status, state="paused", step=self.trainer.step, seconds=self.seconds())
        self.run.write_status(self.status)
        self.report(look=True)
        self.before = self.seconds()

    def keep_to(self, pace: float) -> None:
        self.status = replace(self.status, pace=pace)
        self.run.write_status(self.status)

    def go_on(self) -> None:
        self.start = time.monotonic()
        self.reported = deque([(self.start, self.trainer.step)], RECENT)
        self.status = replace(self.status, state="running", total_steps=self.trainer.total_steps)

    def record(self, info: StepInfo, config: Config) -> None:
        """A step has been done by that recipe."""
        self.window.append(info)
        self.latest, self.held = info, config
        now = time.monotonic()
        if self.report_clock.passed(now):
            self.report(look=self.look_clock.passed(now))
            self.report_clock.restart(now, self.writing, self.seconds())
        if self.checkpoint_clock.passed(now):
            self.checkpoint()

    def report(self, look: bool, whole: bool = False) -> None:
        """Appends one line: the mean over the steps since the last, with `look` the held-out numbers, and the settings
        of the last step that no report has said: those too that a resumed run changes again."""
        row = self._training_row() if self.window else {**self.last_row}
        for mark in ("changed", "forked"):  # they belong to the report that was copied
            row.pop(mark, None)
        news = differences(self.said, self.held)
        if news:
            row["changed"], self.said = news, self.held
        if look:
            row |= self._look(whole)
        begin = time.monotonic()
        self.status = replace(self.status, total_steps=self.trainer.total_steps)
        self.last_row = row
        self.run.log_row(row)
        self.run.write_status(self.status)
        self.writing = time.monotonic() - begin
        self.progress(self.status, row)

    def _training_row(self) -> Row:
        stats = torch.stack([info.stats for info in self.window]).cpu()
        finite = stats.isfinite().all(dim=1)
        if not finite.all():
            bad = self.window[int((~finite).int().argmax())]
            raise diverged(f"The objective became {stats[~finite][0, 0].item()}", bad)
        objective, reconstruction, rate = stats.mean(0).tolist()
        last, self.window = self.window[-1], []
        self._reckon(last.step)
        return {
            "step": last.step,
            "epoch": round(last.epoch, 4),
            "seconds": round(self.status.seconds, 3),
            "learning_rate": last.learning_rate,
            "beta": last.beta,
            "train_objective": objective,
            "train_elbo": reconstruction - rate,
            "train_reconstruction": reconstruction,
            "train_kl": rate,
            "gradient_norms": gradient_norms(self.trainer),
        }

    def _reckon(self, step: int) -> None:
        """How far the run is, and how fast it goes."""
        now, (since, first) = time.monotonic(), self.reported[0]
        self.reported.append((now, step))
        pace = (step - first) / max(now - since, 1e-9)
        left = (self.trainer.total_steps - step) / pace
        speed = pace * self.trainer.config.schedule.batch_size
        self.status = replace(self.status, step=step, seconds=self.seconds(), rate=speed, left=left)

    def _look(self, whole: bool) -> Row:
        begin = time.monotonic()
        result = self.evaluate(self.held_out if whole else self.held_out.head(HELD_OUT))
        if self.latest and not math.isfinite(result.elbo):
            raise diverged(f"The held-out ELBO became {result.elbo}", self.latest)
        moment = snapshot(self.trainer.config, self.trainer.model, self.held_out, self.axes)
        first, second = moment["axes"].tolist()
        self.axes, self.looked = (first, second), self.trainer.step
        self.run.write_snapshot(self.trainer.step, moment)
        rates = moment["weights"].tolist() if moment["by_rate"] else []
        end = time.monotonic()
        cost = end - begin if self.look_clock.due else 0.0  # the first look is dear and comes once
        self.look_clock.restart(end, cost, self.seconds())
        return {
            "held_out_elbo": result.elbo,
            "held_out_elbo_se": result.elbo_se,
            "held_out_reconstruction": -result.distortion,
            "held_out_kl": result.rate,
            "active_units": result.active_units,
            "kl_by_dimension": [round(rate, 5) for rate in rates],
        }

    def evaluate(self, split: Split) -> Evaluation:
        observe = LIKELIHOODS[self.trainer.config.model.likelihood].observe
        return evaluate(self.trainer.model, observe, split.x, generator=generator_for(self.trainer.device, 0, 4))

    def checkpoint(self) -> None:
        if self.window:
            self.report(look=False)
        begin = time.monotonic()
        parameters = self.trainer.model.state_dict()
        if self.latest and not all(value.isfinite().all() for value in parameters.values()):
            raise diverged("The parameters are no longer finite numbers", self.latest)
        self.run.write_checkpoint(self.trainer.step, parameters, self.trainer.state())
        end = time.monotonic()
        self.checkpoint_clock.restart(end, cost=end - begin)

    def finish(self, state: str, reason: str = "") -> None:
        """Who stops a run does not wait for a look at all of the held-out data, nor at what a pause has looked at."""
        whole = state == "finished"
        if whole or self.looked != self.trainer.step:
            self.report(look=True, whole=whole)
        self.checkpoint()
        self.status = replace(self.status, state=state, reason=reason)
        self.run.write_status(self.status)


@dataclass
class Helm:
    """Obeys the owner's requests between two steps."""

    run: Run
    trainer: Trainer
    recorder: Recorder
    seen: int = -1
    paused: bool = False
    stopping: bool = False
    reason: str = ""
    single: int = 0
    pace: float = 0.0
    kept: bool = False
    """Whether the run has been paused, with a checkpoint, and done nothing but single steps since."""

    def steer(self) -> None:
        """Takes over what was asked for; returns when there is a step to do, or the run is to stop."""
        self._take()
        if self.paused and not (self.stopping or self.single):
            self.recorder.pause()
            if not self.kept:
                self.recorder.checkpoint()
                self.kept = True
            while self.paused and not (self.stopping or self.single):
                time.sleep(PAUSE_SECONDS)
                self.trainer.team.tell("wait")  # whoever hears nothing for long takes this process for dead
                self._take()
            self.recorder.go_on()

    def step(self) -> None:
        """One step; where they come one by one, with every number of it written down."""
        begin, config = time.monotonic(), self.trainer.config
        self.kept = self.kept and self.single > 0
        if not (self.single or self.pace):
            return self.recorder.record(self.trainer.advance(), config)
        info, trace = traced(self.trainer)
        self.recorder.record(info, config)
        self.run.write_trace(trace.to_dict())
        if self.single:
            self.single -= 1
            return
        while time.monotonic() - begin < self.pace and not (self.stopping or self.paused):
            time.sleep(PAUSE_SECONDS)
            self._take()

    def _take(self) -> None:
        changed = self.run.mailbox.changed()
        if changed == self.seen:
            return
        self.seen = changed
        for request in self.run.requests():
            self._obey(request)
            request.path.unlink(missing_ok=True)

    def _obey(self, request: Request) -> None:
        kind = request.kind
        if kind == "stop":
            self.stopping, self.reason = True, str(request.settings.get("reason", ""))
        elif kind in ("pause", "resume"):
            self.paused = kind == "pause"
        elif kind == "step":
            self.paused, self.single = True, self.single + 1
        elif kind == "pace":
            self.pace = min(SLOWEST, max(0.0, float(request.settings.get("seconds", 0.0))))
            self.recorder.keep_to(self.pace)
        elif kind == "change":
            self._change(request.settings, request.path.name)

    def _change(self, settings: Settings, request: str) -> None:
        """What does not fit is left alone, and the log says so: the page refuses it before it is asked for. So is what
        a worker has changed that died before it could drop the request."""
        if any(change.request == request for change in self.run.changes()):
            return
        before = self.run.present_config()
        try:
            after = steered(before, settings)
        except (ValueError, TypeError) as error:
            print(f"refused to change {settings}: {error}", flush=True)
            return
        if after == before:
            return
        coming = [change.step for change in self.trainer.changes]
        change = Change(max(self.trainer.step, *coming, 0), settings, request)
        self.run.log_change(change)
        self.trainer.steer(change)


def reported_config(config: Config, rows: list[Row]) -> Config:
    """The recipe that holds after these reports, as they say."""
    for row in rows:
        changed = row.get("changed", {})
        config = steered(config, {name: changed[name] for name in STEERABLE if name in changed})
    return config


def last_axes(run: Run) -> Axes | None:
    """Those of the newest snapshot, which the next one keeps if it can."""
    steps = run.snapshots()
    if not steps:
        return None
    first, second = load_tensors(run.snapshot_path(steps[-1]))["axes"].tolist()
    return first, second


def resume(run: Run, trainer: Trainer) -> float:
    """Restores the newest checkpoint, if there is one, and forgets what came after it; returns the seconds trained
    until then."""
    run.clear_drafts()
    trainer.steer(*run.changes())
    restore(run, trainer)
    run.keep_rows_until(trainer.step)
    run.keep_snapshots_until(trainer.step)
    rows = run.rows()
    return float(rows[-1]["seconds"]) if rows else 0.0


def restore(run: Run, trainer: Trainer) -> None:
    """Takes up the newest checkpoint; where the disk has damaged it, the one before. Raises DamagedRun."""
    checkpoints = run.checkpoints()
    while checkpoints:
        newest = checkpoints.pop()
        try:
            saved = [load_tensors(newest / name) for name in ("model.safetensors", "trainer.safetensors")]
        except DamagedRun as damage:
            if not checkpoints:
                raise
            print(f"checkpoint {newest.name} is dropped: {damage}", flush=True)
            durable.vanish(newest)
        else:
            return trainer.restore(*saved)


def silent(status: Status, row: Row) -> None:
    """The progress display of a process that nobody watches."""


def train(
    run: Run, progress: Progress = silent, threads: int = THREADS, team: Team = ALONE, awaited: bool = False
) -> Status:
    """Trains a run to its end, or until stopped, from its newest checkpoint on; `progress` is called at every report.

    On the CPU a large model takes `threads` threads. Of a team this is the process that leads. A run is `awaited` that
    was queued: if it was cancelled, or another worker was quicker and has ended it, it is left alone.

    Raises BlockingIOError if another process trains it.
    """
    with run.lock():
        if awaited and not _last_status(run).active:
            return _last_status(run)
        try:
            run.write_status(replace(_last_status(run), state="preparing", reason=""))
            return _train(run, progress, threads, team)
        except OSError as error:
            return _fail(run, durable.explained(error))
        except (Diverged, ValueError, RuntimeError) as error:
            return _fail(run, team.explained(error))
        finally:
            with suppress(OSError):
                run.forget_requests()  # one that came too late must not stop the run when it is resumed


def _last_status(run: Run) -> Status:
    """What is recorded; of a run whose status is lost, as of one that was never begun."""
    try:
        return run.recorded_status()
    except DamagedRun:
        return Status("queued")


def _fail(run: Run, reason: str) -> Status:
    """Where the disk takes no status, whoever reads finds that the worker died, the disk's trouble and the log."""
    status = replace(_last_status(run), state="failed", reason=reason)
    with suppress(OSError):
        run.write_status(status)
    with suppress(OSError):
        traceback.print_exc()
    return status


def _train(run: Run, progress: Progress, threads: int, team: Team) -> Status:
    config = run.config()
    device = choose_device(team.device(config.device))
    trainer = Trainer(config, datasets.training(config.dataset), device, team)
    held_out = datasets.load(config.dataset, "validation").to(device)
    if device.type == "cpu":
        torch.set_num_threads(useful_threads(trainer, threads))
    seconds = resume(run, trainer)
    status = Status("running", step=trainer.step, total_steps=trainer.total_steps, seconds=seconds)
    recorder = Recorder(run, trainer, held_out, status, progress)
    run.write_status(status)
    with few_collections():
        helm = Helm(run, trainer, recorder)
        helm.steer()
        while trainer.step < trainer.total_steps:
            helm.step()  # one at least, so that there is something to report
            helm.steer()
            if helm.stopping:
                break
        if trainer.step >= trainer.total_steps:
            recorder.finish("finished")
        else:
            recorder.finish("stopped", helm.reason)
    return recorder.status


@contextmanager
def few_collections() -> Iterator[None]:
    """Keeps the garbage collector from walking all of torch's objects again and again: over 10 % of a step."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def useful_threads(trainer: Trainer, available: int) -> int:
    """One for a small model, whose steps are too short to be shared out; else as many as are available."""
    products = trainer.config.schedule.batch_size * sum(p.numel() for p in trainer.model.parameters())
    return 1 if products < SMALL else available


def warm_up() -> None:
    """Pays the one-off costs of imports, the first step and the first look before anybody waits for them."""
    for name in IMPORTED_LATE:
        import_module(name)
    tiny = Config(model=ModelConfig(widths=(8,)), schedule=ScheduleConfig(batch_size=16, epochs=1))
    split = datasets.load(tiny.dataset, "validation")
    trainer = Trainer(tiny, split.head(64), choose_device("auto"))
    for _ in fit(trainer):
        pass
    snapshot(tiny, trainer.model, split.to(trainer.device))
    evaluate(trainer.model, LIKELIHOODS["bernoulli"].observe, split.head(64).x, generator=trainer.generator)


def write_log(run: Run) -> None:
    """From now on what this process prints goes to the run's log, which tells of its last worker only."""
    fresh = 0 if run.locked() else os.O_TRUNC
    log = os.open(run.folder / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | fresh)
    os.dup2(log, 1)
    os.dup2(log, 2)


def main() -> None:
    warm_up()
    with few_collections():  # now, and not when somebody waits for a first point
        wait_and_train()


def wait_and_train() -> None:
    folder = sys.stdin.readline().strip()
    if not folder:
        return
    run = Run(Path(folder))
    with suppress(OSError):  # a disk on which nothing can be written is the run's own trouble to tell
        write_log(run)
    # one core is left to the app: a page that draws would stall every step that waits for its second half
    with suppress(BlockingIOError):  # another worker was quicker
        train(run, threads=max(1, THREADS - 1), awaited=True)


if __name__ == "__main__":
    main()
