"""Start and goal of each Push-T episode by seed: a goal is a later state of scripted motion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grasp_ros.sim.push_t.policy import record
from grasp_ros.sim.push_t.world import PushTable, errors, succeeded

AHEAD = 25
"""Control periods between start and goal, as in the usual protocol."""
BUDGET_FACTOR = 2
MAX_BEFORE = 100
"""Control periods of scripted motion before the start, at most."""
SEED_STREAM = 20270
MOVED_PX, MOVED_RAD = 5.0, 0.1


@dataclass(frozen=True, eq=False)
class PushTEpisode:
    """One task: push and drive until the table looks like the goal image.

    Attributes:
        seed: of this episode.
        start: state (10,).
        goal: state (10,) that the recorded motion came to.
        commands: displacements (ahead, 2) in m that lead there.
        moves_block: whether the block must move.
        budget: control periods within which the criterion must hold once.
    """

    seed: int
    start: NDArray[np.float64]
    goal: NDArray[np.float64]
    commands: NDArray[np.float64]
    moves_block: bool
    budget: int


def make_episode(seed: int, ahead: int = AHEAD) -> PushTEpisode:
    """The episode of a seed; none is solved by standing still.

    Args:
        seed: 1000 and up for evaluation, 100000 and up for tuning.
        ahead: control periods between start and goal on the recorded motion.
    """
    rng = np.random.default_rng([seed, SEED_STREAM])
    while True:
        before = int(rng.integers(0, MAX_BEFORE + 1))
        motion = record(before + ahead, rng)
        start, goal = motion.states[0, before], motion.states[0, -1]
        if succeeded(start, goal):
            continue
        # The block's own error: the agent's place is the same in both.
        moved, turned = errors(np.concatenate([goal[:2], start[2:]]), goal)
        return PushTEpisode(
            seed=seed,
            start=start,
            goal=goal,
            commands=motion.commands[0, before:],
            moves_block=bool(moved > MOVED_PX or turned > MOVED_RAD),
            budget=BUDGET_FACTOR * ahead,
        )


class PushTSimulation:
    """Simulated episode on the table, see `grasp_ros.sim.closed_loop`.

    Attributes:
        episode: start, goal and budget.
        steps: control periods so far, -1 before the first `ended`.
    """

    def __init__(
        self,
        episode: PushTEpisode,
        look: Callable[[NDArray[np.float64]], Any],
        whole: bool = False,
    ) -> None:
        """Begin an episode.

        Args:
            episode: start, goal and budget.
            look: what the model is shown of a state (10,).
            whole: execute as many commands as the goal is ahead; the criterion counts where that
                ends. Else it must hold once within the budget.
        """
        self.episode = episode
        self.goal_image = look(episode.goal)
        self.steps = -1
        self._look = look
        self._whole = whole
        self._budget = len(episode.commands) if whole else episode.budget
        self._table = PushTable(episode.start)

    @property
    def state(self) -> NDArray[np.float64]:
        """State (10,) of agent and block now."""
        return self._table.state

    @property
    def reached(self) -> bool:
        """Return whether the criterion holds now."""
        return bool(succeeded(self.state, self.episode.goal))

    def observe(self) -> Any:
        """See SimulatedEpisode."""
        return self._look(self.state)

    def step(self, command: NDArray[np.float64]) -> None:
        """Displace by (2,) in m; see SimulatedEpisode."""
        self._table.step(command)

    def ended(self) -> bool:
        """See SimulatedEpisode."""
        self.steps += 1
        return self.steps >= self._budget or (self.reached and not self._whole)
