"""Writes the Push-T results: NAME.json, NAME.md and the plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grasp_ros.benchmark.episodes.compute_budget import base_name
from grasp_ros.benchmark.push_t.push_t_tables import failure_table, paper_tables
from grasp_ros.benchmark.run.variants import COMPARED
from grasp_ros.benchmark.tables.plots import plot_censored, plot_efforts, plot_success
from grasp_ros.benchmark.tables.report_files import compact_json, where
from grasp_ros.benchmark.tables.tables import success_tables, time_table
from grasp_ros.sim.push_t.world import FRAME_SKIP

Row = Mapping[str, Any]

NOTES = {
    'horizon': f'T, model steps of {FRAME_SKIP} commands each; H = {FRAME_SKIP} T is how many '
    'commands the goal is ahead of the start on recorded scripted motion',
    'success': "DINO-WM's criterion in the simulator: the position error of agent and block "
    'together under 20 px, the angle error of the block under a ninth of pi. Whole first plans: '
    'after all H commands. Closed loop: once within 2 H commands. Planning takes no simulated '
    'time; measured with all episodes of a cell side by side',
    'imagined': "the last plan's rollout ends within that criterion of the goal's true pose; the "
    "pose of its last latent is read by the model's probe: ridge regression on standardised "
    'latents and 1024 random rectified features of them, fitted on scripted motion of other seeds '
    'than training, tuning and evaluation, judged on episodes of it that it was not fitted on '
    '(`probes`; its share within the criterion bounds imagined success). The oracle needs none',
    'recorded_commands': 'what the model imagines of the commands that led from start to goal in '
    'the simulator: the share that ends within the criterion. What it does not, is the fault of '
    'the model (or of the probe)',
    'oracle': 'the simulator as world model (its state is the latent), derivatives by finite '
    'differences: what planners fail at on it is no fault of a learned model',
    'times': 'measured in a pass of its own, one problem at a time on one pinned thread, nothing '
    'else running that the benchmark started; not for the oracle',
    'planning_time': 'of an episode: the median first solve and, for each of its further solves, '
    'the mean replan of the timed pass',
    'steps_ratio': 'commands until success over H',
    'success_ci': "Wilson's 95 % interval over the episodes of all model seeds",
}


def write(folder: Path, name: str, content: Mapping[str, Any]) -> str:
    """Write the files of a result file's content to `folder`; the text of the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'{name}.json').write_text(compact_json(content))
    rows, tests = content['rows'], content['paired']
    sections = [
        paper_tables(rows, tests, content['recorded_commands']),
        'A star: the paired difference to GRASP in the simulator is unlikely to be chance '
        '(McNemar, p < 0.05). Published figures are imagined successes on another model.',
        failure_table(content['episodes']),
        success_tables(rows, tests, 'Planners'),
    ]
    places = Counter(where(row) for row in content['ablations'])
    ablations = [row for row in content['ablations'] if places[where(row)] > 1]
    if ablations:
        sections.append(success_tables(ablations, tests, 'Ablations'))
    if content['time_comparison']:
        sections.append(time_table(content['time_comparison']))
    for task, closed_loop in dict.fromkeys((row['task'], row['closed_loop']) for row in rows):
        ending = f'{task.removeprefix("push_t")}{"" if closed_loop else "_open_loop"}'
        own = _in_commands(rows, task, closed_loop)
        plain = [row for row in own if row['planner'] == base_name(row['planner'])]
        if plain:
            plot_success(folder / f'{name}{ending}.png', plain, 'H, commands to the goal')
        if len(plain) < len(own):
            plot_efforts(folder / f'{name}{ending}_efforts.png', own, 'H')
        curves = _in_commands(content['censored'], task, closed_loop)
        if curves:
            plot_censored(folder / f'{name}{ending}_time.png', curves, 'H')
    text = '\n\n'.join(sections)
    (folder / f'{name}.md').write_text(text + '\n')
    return text


def _in_commands(rows: Sequence[Row], task: str, closed_loop: bool) -> list[Row]:
    """The rows of a task and loop, none of the ablations, with H in place of T."""
    return [
        {**row, 'horizon': FRAME_SKIP * row['horizon']}
        for row in rows
        if (row['task'], row['closed_loop']) == (task, closed_loop)
        and base_name(row['planner']) in COMPARED
    ]
