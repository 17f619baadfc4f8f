"""The command `fuzz`: mutated images, compressed images and goals against what takes messages.

Everything runs in one worker process, through the node's own intake and controller, on a small
world model. A worker that dies is a crash like any other exception; the next chunk gets a new one.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import signal
import sys
from collections.abc import Sequence
from functools import lru_cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from grasp_ros.benchmark.run.timing import peak_mb
from system.fuzz.subject import Counts, FuzzTarget, small_controller

EPILOG = """\
exit status: 0 nothing broke, 1 something did, 2 wrong arguments, 130 Ctrl-C
"""
CHUNK = 1000
DECODERS = 'decoders.log'
MAX_MEMORY_MIB = 1024
SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the fuzz.

    Args:
        arguments: of the command line, without the program's name; None: those of the process.

    Returns:
        The exit status: 0 where nothing broke, 1 where something did, 130 after Ctrl-C.
    """
    options = _parse(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    total, status = Counts(), 0
    try:
        _perform(options.messages, options.seed, total, options.output / DECODERS)
    except KeyboardInterrupt:
        print('\nInterrupted.', file=sys.stderr)
        status = 130
    report = make_report(total, options.messages, options.seed)
    path = options.output / 'report.json'
    path.write_text(json.dumps(report, indent=2) + '\n')
    for fault in (*total.crashes, *total.violations)[:SHOWN]:
        print(fault, file=sys.stderr)
    print(
        f'{total.messages} messages: {report["refused"]} refused, {report["stopped"]} stopped the '
        f'robot, {report["taken"]} taken; {len(total.crashes)} crashes, {len(total.violations)} '
        f'violations; {total.running} commands followed a plan; {total.memory_mib:.0f} MiB '
        f'at most\n'
        f'Wrote {path}'
    )
    return status or int(not report['ok'])


def make_report(total: Counts, messages: int, seed: int) -> dict[str, Any]:
    """What is written as JSON; `ok` says whether nothing broke and something was proved."""
    by_outcome: dict[str, int] = {}
    for outcomes in total.outcomes.values():
        for outcome, count in outcomes.items():
            by_outcome[outcome] = by_outcome.get(outcome, 0) + count
    return {
        'messages': total.messages,
        'seed': seed,
        'refused': sum(n for outcome, n in by_outcome.items() if outcome.startswith('refused')),
        'stopped': sum(n for outcome, n in by_outcome.items() if outcome.startswith('stopped')),
        'taken': by_outcome.get('taken', 0),
        'crashes': len(total.crashes),
        'violations': len(total.violations),
        'running_commands': total.running,
        'memory_mib': round(total.memory_mib),
        'slowest_ms': round(total.slowest_ms[0]),
        'slowest': total.slowest_ms[1],
        'ok': (
            total.messages >= messages
            and not total.crashes
            and not total.violations
            and total.memory_mib <= MAX_MEMORY_MIB
            and (total.running > 0 or messages < CHUNK)
        ),
        'outcomes': dict(sorted(by_outcome.items())),
        'mutations': dict(sorted(total.outcomes.items())),
        'details': [*total.crashes[:SHOWN], *total.violations[:SHOWN]],
    }


def _perform(messages: int, seed: int, total: Counts, log: Path) -> None:
    """Fuzz chunk by chunk into `total`."""
    log.unlink(missing_ok=True)
    worker = Worker(log)
    try:
        with tqdm(total=messages, unit='message', disable=None) as bar:
            for number, start in enumerate(range(0, messages, CHUNK)):
                count = min(CHUNK, messages - start)
                try:
                    total.merge(worker.fuzz(count, seed, number))
                except WorkerDiedError as error:
                    total.crashes.append(f'chunk {number} of seed {seed}: {error}; see {log}')
                    total.merge(Counts(outcomes={'unknown': {'crash': count}}))
                    worker = Worker(log)
                bar.update(count)
    finally:
        worker.end()


class WorkerDiedError(Exception):
    """The worker process is gone; the message says how it ended."""


class Worker:
    """A process that fuzzes; what a decoder does to it does not end the command."""

    def __init__(self, log: Path) -> None:
        """Start it; it complains into `log`."""
        context = get_context('spawn')
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, log), daemon=True)
        self._process.start()
        theirs.close()

    def fuzz(self, count: int, seed: int, number: int) -> Counts:
        """See `fuzz_chunk`.

        Raises:
            WorkerDiedError: if the process ends meanwhile.
        """
        try:
            self._connection.send((count, seed, number))
            counts: Counts = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise WorkerDiedError(
                f'the worker died with exit status {self._process.exitcode}'
            ) from None
        return counts

    def end(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()


def _work(orders: Connection, log: Path) -> None:
    """Fuzz the chunks that are asked for; decoders complain into the log, as do last words."""
    with log.open('ab') as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends this
    while True:
        orders.send(fuzz_chunk(*orders.recv()))


def fuzz_chunk(count: int, seed: int, number: int) -> Counts:
    """Send the mutants of one chunk, which depend on seed and number only."""
    subject = _subject()
    subject.counts = Counts()
    subject.fuzz(count, np.random.default_rng([seed, number]))
    subject.counts.memory_mib = peak_mb()  # getrusage would count the parent before exec, too
    return subject.counts


@lru_cache
def _subject() -> FuzzTarget:
    torch.set_num_threads(1)
    return FuzzTarget(small_controller())


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='fuzz',
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--messages', type=int, default=100_000, help='how many; default 100000')
    parser.add_argument('--seed', type=int, default=0, help='of all randomness; default 0')
    parser.add_argument('--output', type=Path, default=Path('out/fuzz'), help='default out/fuzz')
    options = parser.parse_args(arguments)
    if options.messages < 1:
        parser.error(f'--messages is {options.messages}; it must be at least 1')
    if options.seed < 0:
        parser.error(f'--seed is {options.seed}; it must not be negative')
    return options


if __name__ == '__main__':
    sys.exit(main())
