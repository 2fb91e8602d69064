"""Changing a run while it trains: which settings, and the log that makes a steered run repeatable."""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from vae_core.config import Config
from vae_core.rules import check

STEERABLE = {
    "learning_rate": "schedule",
    "epochs": "schedule",
    "beta": "objective",
    "draws": "objective",
    "estimator": "objective",
}
"""Settings that may change while a model trains, and the part of the recipe each belongs to."""

Settings = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """From the moment on when `step` steps were done, these settings hold. `request` names what asked for it, if
    anything did, so that it is obeyed once."""

    step: int
    settings: Settings
    request: str = field(default="", compare=False)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Change":
        """Raises ValueError."""
        try:
            read = json.loads(text)
            return Change(int(read["step"]), dict(read["settings"]), str(read.get("request", "")))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"a change must have a step and settings; got {text[:80]!r}") from error


def steered(config: Config, settings: Settings) -> Config:
    """The recipe with some settings changed. Raises ValueError for settings that cannot change or do not fit."""
    unknown = sorted(set(settings) - set(STEERABLE))
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)} cannot change while a run trains; these can: {', '.join(sorted(STEERABLE))}. "
            "Train anew for anything else"
        )
    for name, value in settings.items():
        part = getattr(config, STEERABLE[name])
        config = replace(config, **{STEERABLE[name]: replace(part, **{name: value})})
    check(config)
    return config


def differences(before: Config, after: Config) -> Settings:
    """The steerable settings in which two recipes differ, with their values in the second.

    Raises ValueError if they differ in anything else.
    """
    settings = {
        name: getattr(getattr(after, part), name)
        for name, part in STEERABLE.items()
        if getattr(getattr(before, part), name) != getattr(getattr(after, part), name)
    }
    if steered(before, settings) != after:
        raise ValueError(f"the recipes differ in more than {', '.join(sorted(STEERABLE))}; train anew for that")
    return settings
