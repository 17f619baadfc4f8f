"""The command `fuzz`: mutated images, compressed images and goals against what takes messages.

Everything runs in one worker process, through the node's own intake and controller, on a small
world model. A worker that dies is a crash like any other exception; the next chunk gets a new one.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import resource
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from grasp_ros.nodes.fuzz.subject import Counts, Subject, small_controller

EPILOG = """\
exit status: 0 nothing broke, 1 something did, 2 wrong arguments, 130 Ctrl-C
"""
CHUNK = 1000
DECODERS = 'decoders.log'
MOST_MEMORY_MIB = 1024
SHOWN = 20


@dataclass(frozen=True)
class Chunk:
    """What one chunk of messages led to, and the worker's largest memory so far."""

    counts: Counts
    memory_mib: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the fuzz.

    Args:
        arguments: of the command line, without the program's name; None: those of the process.

    Returns:
        The exit status: 0 where nothing broke, 1 where something did, 130 after Ctrl-C.
    """
    options = _parse(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    total, memory_mib, status = Counts(), 0.0, 0
    try:
        memory_mib = _perform(options.messages, options.seed, total, options.output / DECODERS)
    except KeyboardInterrupt:
        print('\nInterrupted.', file=sys.stderr)
        status = 130
    report = make_report(total, memory_mib, options.messages, options.seed)
    path = options.output / 'report.json'
    path.write_text(json.dumps(report, indent=2) + '\n')
    for fault in (*total.crashes, *total.violations)[:SHOWN]:
        print(fault, file=sys.stderr)
    print(
        f'{total.messages} messages: {report["refused"]} refused, {report["stopped"]} stopped the '
        f'robot, {report["taken"]} taken; {len(total.crashes)} crashes, {len(total.violations)} '
        f'violations; {total.running} commands followed a plan; {memory_mib:.0f} MiB at most\n'
        f'Wrote {path}'
    )
    return status or int(not report['ok'])


def make_report(total: Counts, memory_mib: float, messages: int, seed: int) -> dict[str, Any]:
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
        'memory_mib': round(memory_mib),
        'slowest_ms': round(total.slowest_ms[0]),
        'slowest': total.slowest_ms[1],
        'ok': (
            total.messages >= messages
            and not total.crashes
            and not total.violations
            and memory_mib <= MOST_MEMORY_MIB
            and (total.running > 0 or messages < CHUNK)
        ),
        'outcomes': dict(sorted(by_outcome.items())),
        'mutations': dict(sorted(total.outcomes.items())),
        'details': [*total.crashes[:SHOWN], *total.violations[:SHOWN]],
    }


def _perform(messages: int, seed: int, total: Counts, log: Path) -> float:
    """Fuzz chunk by chunk into `total`; the workers' largest memory in MiB."""
    memory_mib = 0.0
    log.unlink(missing_ok=True)
    pool = _pool(log)
    try:
        with tqdm(total=messages, unit='message', disable=None) as bar:
            for number, start in enumerate(range(0, messages, CHUNK)):
                count = min(CHUNK, messages - start)
                try:
                    chunk = pool.submit(fuzz_chunk, count, seed, number).result()
                except BrokenProcessPool:
                    total.crashes.append(f'the worker died in chunk {number} of seed {seed}')
                    total.outcomes.setdefault('unknown', {})['crash'] = count
                    pool = _pool(log)
                else:
                    _merge(total, chunk.counts)
                    memory_mib = max(memory_mib, chunk.memory_mib)
                bar.update(count)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return memory_mib


def _pool(log: Path) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        1, mp_context=get_context('spawn'), initializer=_begin, initargs=(log,)
    )


def _begin(log: Path) -> None:
    """Let decoders complain into a file, and the last words of a dying worker go there, too."""
    with log.open('ab') as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    faulthandler.enable()


def fuzz_chunk(count: int, seed: int, number: int) -> Chunk:
    """Send the mutants of one chunk, which depend on seed and number only."""
    subject = _subject()
    subject.counts = Counts()
    subject.fuzz(count, np.random.default_rng([seed, number]))
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Chunk(subject.counts, kibibytes / 1024)


@lru_cache
def _subject() -> Subject:
    torch.set_num_threads(1)
    return Subject(small_controller())


def _merge(total: Counts, counts: Counts) -> None:
    for name, outcomes in counts.outcomes.items():
        known = total.outcomes.setdefault(name, {})
        for outcome, count in outcomes.items():
            known[outcome] = known.get(outcome, 0) + count
    total.crashes += counts.crashes
    total.violations += counts.violations
    total.running += counts.running
    total.slowest_ms = max(total.slowest_ms, counts.slowest_ms)


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
