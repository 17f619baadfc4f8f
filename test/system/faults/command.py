"""The command `faults`: provokes every fault of the table with real processes, and judges.

Each line says how long the planner took to react, what the table allows (a control period, the
named timeout, and 20 ms for messages on their way) and whether it went on without a restart, or
with one where the table says so.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from tqdm import tqdm

from grasp_ros.tools.demo.bench import BenchError
from grasp_ros.tools.demo.processes import ChildDiedError, Interrupted, Watch
from system.faults.bench import PlannerTestBench
from system.faults.report import HEADING, FaultResult, write_report
from system.faults.scenario import Outcome
from system.faults.scenarios import SCENARIOS
from system.faults.table import FAULTS, Fault

EPILOG = """\
exit status: 0 every fault was met as the table says, 1 one was not, 2 wrong arguments, 130 Ctrl-C
"""
REPORT = 'report.json'
BAR = '{n_fmt}/{total_fmt} |{bar:20}| {desc}'
NEVER = float('nan')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the harness.

    Args:
        arguments: of the command line, without the program's name; None: those of the process.

    Returns:
        The exit status: 0 where every fault was met in time, 1 where not, 130 after Ctrl-C.
    """
    options = _parse(arguments)
    if options.list:
        print('\n'.join(fault.name for fault in FAULTS))
        return 0
    # Nothing outside this machine may take these commands for its own, unless asked to.
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    watch = Watch()
    results: list[FaultResult] = []
    options.output.mkdir(parents=True, exist_ok=True)
    report = options.output / REPORT
    report.unlink(missing_ok=True)
    try:
        _perform(options.faults, options.output, watch, results)
    except Interrupted:
        print('\nInterrupted.', file=sys.stderr)
        return 128 + (watch.signal or 0)
    except (BenchError, ChildDiedError) as error:
        print(f'faults: {error}', file=sys.stderr)
        return 1
    finally:
        if results:
            write_report(report, results)
    failed = sum(not result.ok for result in results)
    print(f'\n{len(results) - failed} of {len(results)} faults met as the table says.')
    print(f'Wrote {report}')
    return 1 if failed else 0


def _perform(
    faults: Sequence[Fault], folder: Path, watch: Watch, results: list[FaultResult]
) -> None:
    """Provoke one fault after the other."""
    print('Starting the planner ...', flush=True)
    began_s = time.monotonic()
    with PlannerTestBench(folder, watch.check) as bench:
        bench.begin()
        print(f'Ready after {time.monotonic() - began_s:.0f} s.\n\n{HEADING}', flush=True)
        with tqdm(total=len(faults), bar_format=BAR, disable=None, leave=False) as bar:
            for fault in faults:
                bar.set_description_str(fault.name)
                result = run_scenario(bench, fault)
                results.append(result)
                bar.write(result.line())
                sys.stdout.flush()
                bar.update()


def run_scenario(bench: PlannerTestBench, fault: Fault) -> FaultResult:
    """Provoke a fault and judge what it led to; the bench is usable afterwards."""
    seen = len(bench.violations)
    try:
        outcome, problem = SCENARIOS[fault.name](bench), ''
    except (BenchError, ChildDiedError) as error:
        outcome, problem = Outcome(NEVER, False), str(error)
        bench.restart_next()
    problems = [problem, *bench.violations[seen:]]
    return FaultResult(
        fault, outcome.reaction_s, outcome.recovered, '\n'.join(filter(None, problems))
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='faults',
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--only',
        action='append',
        metavar='NAME',
        help='only the faults whose name contains NAME; may be given several times',
    )
    parser.add_argument('--list', action='store_true', help='print the names and end')
    parser.add_argument(
        '--output', type=Path, default=Path('out/faults'), help='default out/faults'
    )
    options = parser.parse_args(arguments)
    wanted = options.only or ['']
    options.faults = [
        fault for fault in FAULTS if any(part.lower() in fault.name.lower() for part in wanted)
    ]
    for part in wanted:
        if not any(part.lower() in fault.name.lower() for fault in FAULTS):
            near = get_close_matches(part, [fault.name for fault in FAULTS], n=1)
            hint = f'; did you mean {near[0]!r}?' if near else ''
            parser.error(f'--only: no fault has {part!r} in its name{hint} (--list names all)')
    return options


if __name__ == '__main__':
    sys.exit(main())
