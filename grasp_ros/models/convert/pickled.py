"""Checkpoints in Python's pickle format: what they name, and their tensors, running none of it.

A pickle is a program that calls whatever functions it names. Here only those that PyTorch rebuilds
tensors with are called; every other name becomes an empty stand-in that remembers its state.
"""

from __future__ import annotations

import collections
import hashlib
import io
import json
import os
import pickle
import pickletools
import subprocess
import sys
import tempfile
import types
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from grasp_ros.models.errors import CheckpointError, TrustError

Fact = int | float | str
TENSORS_NAME, FACTS_NAME = 'tensors.safetensors', 'facts.json'
REFUSED_STATUS = 3
LEGACY_PICKLES = 5
"""A file of PyTorch before 1.6: magic number, protocol, system, the object, names of storages."""
LEFT_OUT = ('opt', 'optimizer', 'scaler', 'scheduler')
"""Parts of a checkpoint that only training needs: keys that end so."""
REAL = {
    'collections.OrderedDict': collections.OrderedDict,
    'torch._utils._rebuild_tensor_v2': torch._utils._rebuild_tensor_v2,
    'torch._utils._rebuild_parameter': torch._utils._rebuild_parameter,
    'torch.Size': torch.Size,
    'builtins.set': set,
    '__builtin__.set': set,
}
"""Names that stand for what they name; storages of tensors are PyTorch's matter."""


@dataclass(frozen=True, eq=False)
class Contents:
    """Contents of a checkpoint.

    Attributes:
        tensors: by dotted name, as of a state dict.
        facts: numbers and strings beside them, as `predictor.transformer.layers.0.0.heads`.
        sha256: of the file.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Fact]
    sha256: str


class StandIn:
    """Stand-in for a pickled class that is not importable; it keeps the state."""

    state: dict[str, Any]

    def __new__(cls, *arguments: Any, **named: Any) -> StandIn:
        """Take anything, even what is never initialised."""
        made = super().__new__(cls)
        made.state = {}
        return made

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}

    def __call__(self, *arguments: Any, **named: Any) -> StandIn:
        """Whatever a stand-in gives is one, too."""
        return StandIn()

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Forget it."""

    def extend(self, items: Any) -> None:
        """Forget them."""


def pickle_globals(content: bytes, name: str) -> list[str]:
    """All functions and classes that a checkpoint names, as 'module.name'; nothing is run.

    Args:
        content: of the file.
        name: of the file, for messages.

    Raises:
        CheckpointError: if it is no checkpoint of PyTorch, or hides a name.
    """
    found: set[str] = set()
    try:
        for stream in _streams(content, name):
            found |= set(_globals(stream))
    except (ValueError, zipfile.BadZipFile, IndexError) as error:
        raise CheckpointError(f'{name}: not a checkpoint of PyTorch: {error}') from error
    return sorted(found)


def read_checkpoint(path: Path, trust: bool, say: Callable[[str], None] = print) -> Contents:
    """The tensors of a checkpoint, read in a process of its own.

    Args:
        path: a file of `torch.save`.
        trust: whether it may hold more than numbers.
        say: is told what is about to be unpickled.

    Raises:
        CheckpointError: if it cannot be read.
        TrustError: if it holds more than numbers and is not trusted.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f'{path}: cannot be read: {error.strerror}') from error
    names = pickle_globals(content, str(path))
    sha256 = hashlib.sha256(content).hexdigest()
    refused = _names_more_than_numbers(content)
    del content
    with tempfile.TemporaryDirectory() as folder:
        if not refused:
            done = _in_own_process(path, Path(folder), [], sha256)
            refused = done.returncode == REFUSED_STATUS
        if refused:
            say(_announcement(path, names))
            if not trust:
                raise TrustError(
                    f'{path}: holds Python objects, not only numbers; nothing of it was run. Add '
                    '--trust if you know where the file comes from'
                )
            done = _in_own_process(path, Path(folder), names, sha256)
        if done.returncode:
            raise CheckpointError(
                f'{path}: cannot be read: {done.stderr.strip() or f"status {done.returncode}"}'
            )
        facts = json.loads((Path(folder) / FACTS_NAME).read_text())
        return Contents(load_file(Path(folder) / TENSORS_NAME), facts, sha256)


def _names_more_than_numbers(content: bytes) -> bool:
    """Return whether PyTorch is sure to refuse the file with weights_only."""
    try:
        return bool(torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content)))
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
        return False


def _announcement(path: Path, names: list[str]) -> str:
    real = [name for name in names if name in REAL or _is_storage(name)]
    others = [name for name in names if name not in real]
    return '\n'.join(
        [
            f'{path} is a pickle that names these functions and classes:',
            *(f'  {name}' for name in others),
            f'and {len(real)} that PyTorch rebuilds tensors with. In a process of its own, only '
            'the latter are called; the others become empty stand-ins.',
        ]
    )


def _in_own_process(
    path: Path, folder: Path, names: list[str], sha256: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-c', 'from grasp_ros.models.convert.pickled import main; main()'],
        input=json.dumps(
            {'path': str(path), 'folder': str(folder), 'names': names, 'sha256': sha256}
        ),
        env={
            **os.environ,
            'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
            'PYTHONSAFEPATH': '1',  # nothing from where the checkpoint may lie
        },
        capture_output=True,
        text=True,
        check=False,
    )


def _streams(content: bytes, name: str) -> Iterator[io.BytesIO]:
    """The pickles of a checkpoint, one after the other."""
    file = io.BytesIO(content)
    if not zipfile.is_zipfile(file):
        for _ in range(LEGACY_PICKLES):
            yield file
        return
    with zipfile.ZipFile(file) as archive:
        records = archive.namelist()
        if any(record.endswith('/constants.pkl') for record in records):
            raise CheckpointError(f'{name}: a TorchScript program, not a checkpoint of weights')
        pickles = [record for record in records if record.endswith('/data.pkl')]
        if len(pickles) != 1:
            raise ValueError(f'{len(pickles)} records data.pkl in the archive')
        yield io.BytesIO(archive.read(pickles[0]))


def _globals(stream: io.BytesIO) -> Iterator[str]:
    """Names in one pickle, also those that are put together from strings on its stack."""
    memo: dict[int, str | None] = {}
    strings: list[str] = []
    last: str | None = None
    for code, argument, _ in pickletools.genops(stream):
        if code.name in ('GLOBAL', 'INST'):
            assert isinstance(argument, str)
            yield argument.replace(' ', '.', 1)
        elif code.name == 'STACK_GLOBAL':
            yield '.'.join(strings[-2:])
        elif code.name in ('PUT', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE'):
            memo[argument if isinstance(argument, int) else len(memo)] = last
            continue
        if code.name in ('GET', 'BINGET', 'LONG_BINGET'):
            assert isinstance(argument, int)
            last = memo.get(argument)
        else:
            last = argument if isinstance(argument, str) else None
        if last is not None:
            strings.append(last)


def _is_storage(name: str) -> bool:
    return name.startswith('torch.') and name.endswith('Storage')


# In the process of its own.


def main() -> None:
    """Read one checkpoint into numbers; what to read comes as JSON on the standard input."""
    order = json.load(sys.stdin)
    path, folder = Path(order['path']), Path(order['folder'])
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != order['sha256']:
            raise CheckpointError('the file has changed while it was read')
        tensors, facts = unpickle(content, order['names'])
    except pickle.UnpicklingError as error:
        sys.exit(REFUSED_STATUS if not order['names'] else str(error))
    except (CheckpointError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        sys.exit(str(error))
    save_file(tensors, folder / TENSORS_NAME)
    (folder / FACTS_NAME).write_text(json.dumps(facts))


def unpickle(content: bytes, names: list[str]) -> tuple[dict[str, Tensor], dict[str, Fact]]:
    """Tensors and facts of a checkpoint, read in this very process.

    Args:
        content: of the file.
        names: functions and classes that it may name; none where it must hold numbers alone.

    Raises:
        pickle.UnpicklingError: if it names others.
    """
    file = io.BytesIO(content)
    if names:
        module = _pickle_module(frozenset(names))
        loaded = torch.load(file, map_location='cpu', weights_only=False, pickle_module=module)
    else:
        loaded = torch.load(file, map_location='cpu', weights_only=True)
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Fact] = {}
    _collect(loaded, '', tensors, facts)
    return tensors, facts


def _pickle_module(names: frozenset[str]) -> Any:
    """Replacement for the module pickle, as torch.load takes it."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module_name: str, global_name: str, /) -> Any:
            name = f'{module_name}.{global_name}'
            if name not in names:
                raise pickle.UnpicklingError(f'{name} was not announced: the file hides it')
            if name in REAL:
                return REAL[name]
            return type(global_name, (StandIn,), {'__module__': module_name})

    module: Any = types.ModuleType('stand_ins')
    module.Unpickler = Unpickler
    module.load = lambda file, **options: Unpickler(file, **options).load()
    return module


def _collect(
    value: Any, name: str, tensors: dict[str, Tensor], facts: dict[str, Fact]
) -> None:
    """Tensors and facts of nested dicts and modules, by dotted name."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().clone().contiguous()
    elif isinstance(value, int | float | str):
        facts[name] = value
    elif isinstance(value, dict):
        for key, part in value.items():
            if isinstance(key, str) and not key.endswith(LEFT_OUT):
                _collect(part, f'{name}.{key}' if name else key, tensors, facts)
    elif isinstance(value, StandIn):
        state = value.state
        own = {key: part for key, part in state.items()
               if isinstance(part, int | float | str) and not key.startswith('_')}  # fmt: skip
        forgotten = state.get('_non_persistent_buffers_set', set())
        buffers = {
            key: part for key, part in state.get('_buffers', {}).items() if key not in forgotten
        }
        for part in (own, state.get('_parameters', {}), buffers, state.get('_modules', {})):
            _collect(part, name, tensors, facts)
