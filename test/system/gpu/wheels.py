"""The command `gpu-wheels`: what a machine with a GPU and without a package index must be given.

Run it with the version of Python that the other machine has. Wheels are slimmed, since they may
have to travel: without headers, bytecode, and copies of the same library.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
NEEDED = ('pydantic', 'pymunk')
NEEDED_BY_NODES = 'ros-'
"""What the names of the packages in requirements.txt begin with that only nodes need."""
COMES_WITH_TORCH = ('numpy', 'setuptools', 'typing_extensions')
NOT_NEEDED_TO_RUN = ('/include/', '/cmake/', '/bin/', '/share/doc/')
"""In a wheel's paths; so are bytecode and static libraries."""
OWN_MESSAGES = ('grasp_ros/msg/', 'grasp_ros/action/', 'grasp_ros/grasp_ros_s__')
MEBI = 2**20


def requirements(text: str, ros: bool) -> list[str]:
    """Lines of requirements.txt that a GPU check needs, with or without nodes."""
    lines = [line.partition('#')[0].strip() for line in text.splitlines()]
    prefixes = (*NEEDED, NEEDED_BY_NODES) if ros else NEEDED
    return [line for line in lines if line.startswith(prefixes)]


def is_needed(path: str) -> bool:
    """Whether a file of a wheel is needed where nothing is built."""
    if path.startswith('grasp_ros/'):  # all else of this package is in the checkout
        return path.startswith(OWN_MESSAGES) and path.endswith(('.py', '.so'))
    outside = '/' + path
    return not (
        path.endswith(('.pyc', '.a')) or any(part in outside for part in NOT_NEEDED_TO_RUN)
    )


def slim(wheel: Path, output: Path, known: set[tuple[str, int]]) -> None:
    """Write the wheel without what is not needed.

    Args:
        wheel: to read.
        output: folder to write it to, under the same name.
        known: name and checksum of each library that other wheels bring already, which is found
            wherever it lies; those of this wheel are added.
    """
    target = output / wheel.name
    with (
        zipfile.ZipFile(wheel) as source,
        zipfile.ZipFile(target, 'w', zipfile.ZIP_DEFLATED, compresslevel=9) as slimmed,
    ):
        kept = set(_kept(source, known))
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith('.dist-info/RECORD'):
                rows = content.decode().splitlines(keepends=True)
                content = ''.join(row for row in rows if row.split(',')[0] in kept).encode()
            if entry.filename in kept:
                slimmed.writestr(entry, content, zipfile.ZIP_DEFLATED)


def _kept(source: zipfile.ZipFile, known: set[tuple[str, int]]) -> Iterable[str]:
    """Paths of a wheel's files that are needed."""
    copies: dict[tuple[str, int], list[str]] = {}
    for entry in source.infolist():
        path = Path(entry.filename)
        if entry.is_dir() or not is_needed(entry.filename):
            continue
        if path.parent.name.endswith('.libs'):
            if (path.name, entry.CRC) not in known:
                known.add((path.name, entry.CRC))
                yield entry.filename
        elif '.so' in path.suffixes:
            copies.setdefault((str(path.parent), entry.CRC), []).append(entry.filename)
        else:
            yield entry.filename
    for same in copies.values():
        # Zip files know no links: one library lies there under several names.
        content = source.read(same[0]) if len(same) > 1 else b''
        own = [path for path in same if f'\0{Path(path).name}\0'.encode() in content]
        yield from own or same


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the folder; exit status 1 if pip fails."""
    parser = argparse.ArgumentParser(prog='gpu-wheels', description=__doc__)
    parser.add_argument('--output', type=Path, default=Path('out/wheels'), help='folder to fill')
    parser.add_argument('--without-ros', action='store_true', help='leave out what nodes need')
    options = parser.parse_args(arguments)
    wanted = requirements((ROOT / 'requirements.txt').read_text(), not options.without_ros)
    with tempfile.TemporaryDirectory() as folder:
        wheel = [sys.executable, '-m', 'pip', 'wheel', '-q', '--prefer-binary', '-w', folder]
        commands = [[*wheel, *wanted]]
        if not options.without_ros:
            commands.append([*wheel, '--no-deps', str(ROOT)])
        for command in commands:
            if subprocess.run(command, cwd=ROOT).returncode:
                return 1
        options.output.mkdir(parents=True, exist_ok=True)
        for old in options.output.glob('*.whl'):
            old.unlink()
        known: set[tuple[str, int]] = set()
        for found in sorted(Path(folder).glob('*.whl')):
            if not found.name.startswith(COMES_WITH_TORCH):
                slim(found, options.output, known)
    made = list(options.output.glob('*.whl'))
    size = sum(path.stat().st_size for path in made)
    print(
        f'{len(made)} wheels in {options.output}, {size / MEBI:.1f} MiB, for Python '
        f'{sys.version_info.major}.{sys.version_info.minor}'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
