"""The plan of the chaos rounds: what is killed, and when. All choices come from one seed."""

import random
import signal
from dataclasses import dataclass

PHASES = ("start-up", "listing", "labelling", "commit")
_DELAYS_S = {"start-up": 9.0, "listing": 5.0, "labelling": 4.0, "commit": 0.4}
_VICTIMS = ("driver", "driver", "actor", "actor", "worker", "raylet", "gcs_server", "anyone")
_ENDINGS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill.

    Attributes:
        phase: what the job is to be doing.
        delay_s: how long after that began.
        victim: the role of whom to kill; anyone if there is none.
        pick: in [0, 1), which of several.
        signal: what is sent to a driver; others are killed outright.
    """

    phase: str
    delay_s: float
    victim: str
    pick: float
    signal: signal.Signals


@dataclass(frozen=True, slots=True)
class Round:
    """One output: the kills of each run until nobody disturbs it any more."""

    number: int
    on_s3: bool
    runs: tuple[tuple[Kill, ...], ...]


def plan_rounds(seed: int, count: int) -> list[Round]:
    """Draw the rounds; the first ones do not depend on how many there are."""
    chance = random.Random(seed)
    return [Round(number, number % 2 == 1, _draw_runs(chance)) for number in range(count)]


def _draw_runs(chance: random.Random) -> tuple[tuple[Kill, ...], ...]:
    """One to three kills over one to three runs."""
    runs: list[list[Kill]] = [[]]
    for _ in range(chance.choice((1, 1, 2, 3))):
        if runs[-1] and chance.random() < 0.5:
            runs.append([])
        runs[-1].append(_draw(chance))
    return tuple(tuple(sorted(run, key=_moment)) for run in runs)


def _moment(kill: Kill) -> tuple[int, float]:
    return PHASES.index(kill.phase), kill.delay_s


def _draw(chance: random.Random) -> Kill:
    phase = chance.choice(PHASES)
    return Kill(
        phase=phase,
        delay_s=round(chance.uniform(0, _DELAYS_S[phase]), 3),
        victim=chance.choice(_VICTIMS),
        pick=chance.random(),
        signal=chance.choice(_ENDINGS),
    )
