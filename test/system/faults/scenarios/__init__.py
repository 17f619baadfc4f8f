"""One scenario for each row of the table, by its name."""

from system.faults.scenario import Scenario
from system.faults.scenarios import (
    camera,
    goal,
    parameters,
    planner,
    processes,
    simulated,
    surroundings,
)

SCENARIOS: dict[str, Scenario] = {
    **camera.SCENARIOS,
    **goal.SCENARIOS,
    **planner.SCENARIOS,
    **simulated.SCENARIOS,
    **parameters.SCENARIOS,
    **surroundings.SCENARIOS,
    **processes.SCENARIOS,
}
