"""The README says what the code does."""

import re
from pathlib import Path

import pytest

from grasp_ros.control.types import State

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()


def test_parameter_table_is_the_nodes():
    parameters = pytest.importorskip('grasp_ros.parameters.table')
    assert parameters.markdown_table() in README, (
        'paste what `python -m grasp_ros.parameters.table` prints between the markers'
    )


def test_fault_table_is_that_of_the_harness():
    faults = pytest.importorskip('system.faults.table')
    assert faults.markdown_table() in README, (
        'paste what `python -m system.faults.table` prints between the markers'
    )


def test_every_state_is_explained():
    for state in State:
        assert state.name in README


def test_linked_files_exist():
    links = re.findall(r'\]\((?!https?:)([^)#]+)\)', README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_make_targets_exist():
    makefile = (ROOT / 'Makefile').read_text()
    targets = set(re.findall(r'(?:^|`)make ([a-z]+)', README, re.MULTILINE))
    assert {'demo', 'test', 'train'} <= targets
    for target in targets:
        assert re.search(rf'^{target}:', makefile, re.MULTILINE), target
