"""The Push-T results in the form of the paper's table, and who failed: model or planner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grasp_ros.benchmark.run.variants import COMPARED, base_name
from grasp_ros.benchmark.tables.plots import plot_censored, plot_efforts, plot_success
from grasp_ros.benchmark.tables.results import LEVEL
from grasp_ros.benchmark.tables.tables import compact_json, success_tables, time_table, where
from grasp_ros.sim.push_t.world import FRAME_SKIP

Row = Mapping[str, Any]

PUBLISHED_TASK = 'push_t'
PUBLISHED: Mapping[str, Mapping[int, tuple[float, float | None]]] = {
    'CEM': {40: (61.4, 35.3), 50: (30.2, 96.2), 60: (7.2, 83.1), 70: (7.8, 156.1),
            80: (2.8, 132.2)},
    'GD': {40: (51.0, 18.0), 50: (37.6, 76.3), 60: (16.4, 146.5), 70: (12.0, 103.1),
           80: (6.4, 161.3)},
    'LatCo': {40: (15.0, 598.0), 50: (4.2, 1114.7), 60: (2.0, 231.5), 70: (0.0, None),
              80: (0.0, None)},
    'GRASP': {40: (59.0, 8.5), 50: (43.4, 15.2), 60: (26.2, 49.1), 70: (16.0, 79.9),
              80: (10.4, 58.9)},
}
"""Imagined success in % and median time of the successes in s by H, on another model, with whole
plans (arXiv 2602.00475, table of Push-T with DINO-WM)."""


def paper_tables(
    rows: Sequence[Row], tests: Sequence[Row], recorded: Sequence[Row] = ()
) -> str:
    """Real and imagined success and time by H, one table for each task and loop.

    Args:
        rows: of the result file.
        tests: paired tests of GRASP as shipped against the others.
        recorded: what the model imagines of the recorded commands, by task and horizon.
    """
    marked = {
        (test['task'], test['second'], test['horizon'], test['closed_loop'])
        for test in tests
        if test['p'] < LEVEL
    }
    parts = []
    for task, closed_loop in dict.fromkeys((row['task'], row['closed_loop']) for row in rows):
        own = [row for row in rows if (row['task'], row['closed_loop']) == (task, closed_loop)]
        horizons = sorted({row['horizon'] for row in own})
        heads = [f'H = {FRAME_SKIP * horizon} (T = {horizon})' for horizon in horizons]
        loop = 'receding horizon' if closed_loop else 'whole first plans'
        lines = [
            f'### {task}, {loop}: success in the simulator / as imagined, %; planning time of the '
            'successes, s',
            '',
            f'| planner | {" | ".join(heads)} |',
            f'|---|{"---|" * len(heads)}',
        ]
        for planner in dict.fromkeys(row['planner'] for row in own):
            found = {row['horizon']: row for row in own if row['planner'] == planner}
            cells = [
                _cell(found.get(horizon), (task, planner, horizon, closed_loop) in marked)
                for horizon in horizons
            ]
            lines.append(f'| {planner} | {" | ".join(cells)} |')
        imagined = {row['horizon']: row['imagined'] for row in recorded if row['task'] == task}
        if imagined and not closed_loop:
            cells = [
                f'100 / {100 * imagined[horizon]:.0f}; -' if horizon in imagined else '-'
                for horizon in horizons
            ]
            lines.append(f'| the recorded commands | {" | ".join(cells)} |')
        if not closed_loop and task == PUBLISHED_TASK:
            lines += _published(horizons)
        parts.append('\n'.join(lines))
    return '\n\n'.join(parts)


def _cell(row: Row | None, marked: bool) -> str:
    if row is None:
        return '-'
    time_s = row['median_time_s']
    time = '-' if time_s is None else f'{time_s:.3g}'
    star = ' *' if marked else ''
    return f'{100 * row["success"]:.0f}{star} / {100 * row["imagined"]:.0f}; {time}'


def _published(horizons: Sequence[int]) -> list[str]:
    lines = []
    for planner, known in PUBLISHED.items():
        cells = []
        for horizon in horizons:
            success, time_s = known.get(FRAME_SKIP * horizon, (None, None))
            shown = '-' if time_s is None else f'{time_s:g}'
            cells.append('-' if success is None else f'- / {success:g}; {shown}')
        lines.append(f'| published: {planner} | {" | ".join(cells)} |')
    return lines


def failure_table(episodes: Sequence[Row]) -> str:
    """Table of the plans that failed already in imagination, and of those only in the simulator.

    Args:
        episodes: of the result file: lists for each planner, horizon, loop and model.
    """
    lines = [
        '### Where episodes fail',
        '',
        'Imagined but not reached is the fault of the model. Not even imagined is that of the '
        'planner only as far as the model imagines the recorded commands to succeed, which do.',
        '',
        '| task | planner | H | loop | reached | imagined, not reached | neither '
        '| reached where the block must move |',
        '|---|---|---|---|---|---|---|---|',
    ]
    groups: dict[tuple[Any, ...], list[tuple[bool, bool, bool]]] = {}
    for entry in episodes:
        key = entry['task'], entry['planner'], entry['horizon'], entry['closed_loop']
        outcomes = zip(entry['reached'], entry['imagined'], entry['moves_block'], strict=True)
        groups.setdefault(key, []).extend(outcomes)
    for (task, planner, horizon, closed_loop), group in groups.items():
        moving = [reached for reached, _, moves in group if moves]
        lines.append(
            f'| {task} | {planner} | {FRAME_SKIP * horizon} '
            f'| {"closed" if closed_loop else "open"} '
            f'| {sum(reached for reached, _, _ in group)} of {len(group)} '
            f'| {sum(imagined and not reached for reached, imagined, _ in group)} '
            f'| {sum(not imagined and not reached for reached, imagined, _ in group)} '
            f'| {sum(moving)} of {len(moving)} |'
        )
    return '\n'.join(lines)


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
