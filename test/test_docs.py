"""README and docs/ say what the code does, and what they name is there."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / 'README.md'
PAGES = sorted((ROOT / 'docs').rglob('*.md'))
WRITTEN = [README, *PAGES]
MAX_README_LINES = 250

TABLES = importlib.util.spec_from_file_location('tables', ROOT / 'docs' / 'generated_tables.py')
tables = importlib.util.module_from_spec(TABLES)
TABLES.loader.exec_module(tables)

OURS = ('action', 'benchmark_results', 'config', 'docs', 'grasp_ros', 'launch', 'msg', 'test')
"""Folders here: what begins with one of them is a file of ours, else of a reader's machine."""


def name(page):
    return str(page.relative_to(ROOT))


def prose(page):
    """The text of a page without its code blocks."""
    return re.sub(r'^ *```.*?^ *```$', '', page.read_text(), flags=re.MULTILINE | re.DOTALL)


def code(page):
    """All that a page shows as code: blocks, with their continued lines joined, and `spans`."""
    text = page.read_text()
    blocks = re.findall(r'^ *```\w*\n(.*?)^ *```$', text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r'`([^`]+)`', prose(page))
    return '\n'.join([*blocks, *(span.replace('\n', ' ') for span in spans)]).replace('\\\n', ' ')


def rows(text, first_cell):
    """The rows, cell by cell, of the table whose header begins with `first_cell`."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(f'| {first_cell} |'):
            break
    next(lines)
    table = []
    for line in lines:
        if not line.startswith('|'):
            break
        table.append([cell.strip() for cell in line.strip('|').split('|')])
    return table


def anchors(page):
    """What links to headings of a page may name."""
    return {
        re.sub(r'[\s-]+', '-', re.sub(r'[^\w\s-]', '', heading.lower())).strip('-')
        for heading in re.findall(r'^#+ (.+)$', prose(page), re.MULTILINE)
    }


def test_the_readme_is_a_door():
    assert len(README.read_text().splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize('page', tables.pages(), ids=name)
def test_tables_are_what_the_code_makes(page):
    pytest.importorskip('rclpy')
    text = page.read_text()
    assert tables.with_tables(text) == text, 'make docs-tables'


def test_both_tables_are_on_their_pages():
    found = {block['name']: name(page) for page in PAGES
             for block in tables.BLOCK.finditer(page.read_text())}
    assert found == {'parameters': 'docs/parameters.md', 'faults': 'docs/safety.md'}


def test_every_state_is_explained():
    message = (ROOT / 'msg' / 'PlanStatus.msg').read_text()
    states = re.findall(r'^uint8 ([A-Z_]+)=\d+', message, re.MULTILINE)
    table = rows((ROOT / 'docs' / 'safety.md').read_text(), 'state')
    assert sorted(row[0] for row in table) == sorted(states)
    for row in table:
        assert len(row) == 4 and all(row), row


@pytest.mark.parametrize('page', WRITTEN, ids=name)
def test_links_lead_somewhere(page):
    for link in re.findall(r'\]\((?![a-z]+:)([^)\s]+)\)', prose(page)):
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_navigation():
    settings = (ROOT / 'mkdocs.yml').read_text()
    entries = [page for part in yaml.safe_load(settings)['nav']
               for pages in part.values() for entry in pages for page in entry.values()]
    assert sorted(entries) == sorted(str(page.relative_to(ROOT / 'docs')) for page in PAGES)


def test_every_folder_has_an_api_page():
    folders = {path.parent.name for path in (ROOT / 'grasp_ros').glob('*/__init__.py')}
    pages = {page.stem: page.read_text() for page in (ROOT / 'docs' / 'api').glob('*.md')}
    assert set(pages) == folders - {'msg', 'action'}
    for folder, text in pages.items():
        assert f'::: grasp_ros.{folder}\n' in text


@pytest.mark.parametrize('page', WRITTEN, ids=name)
def test_files_exist(page):
    for path in re.findall(rf'(?<![\w/.~-])((?:{"|".join(OURS)})/[\w./*-]*)', code(page)):
        path = path.rstrip('.')
        assert (ROOT / path).exists() or any(ROOT.glob(path)), path


@pytest.mark.parametrize('page', WRITTEN, ids=name)
def test_modules_exist(page):
    for dotted in re.findall(r'(?<![\w/.])((?:grasp_ros|system)(?:\.\w+)+)', page.read_text()):
        if dotted.startswith(('grasp_ros.msg', 'grasp_ros.action')):
            continue
        parts = dotted.split('.')
        base = ROOT if parts[0] == 'grasp_ros' else ROOT / 'test'
        files = [
            (file, parts[n:]) for n in range(len(parts), 1, -1)
            for file in (base.joinpath(*parts[:n]).with_suffix('.py'),
                         base.joinpath(*parts[:n], '__init__.py'))
            if file.exists()
        ]
        assert files, dotted
        file, names = files[0]
        for attribute in names:
            assert re.search(rf'^(def|class) {attribute}\b', file.read_text(), re.MULTILINE), dotted


@pytest.mark.parametrize('page', WRITTEN, ids=name)
def test_modules_can_be_run(page):
    for dotted in re.findall(r'-m (grasp_ros[\w.]*)', code(page)):
        path = ROOT.joinpath(*dotted.split('.'))
        file = path / '__main__.py' if path.is_dir() else path.with_suffix('.py')
        assert "__name__ == '__main__'" in file.read_text(), dotted


@pytest.mark.parametrize('page', WRITTEN, ids=name)
def test_commands_of_make_and_ros_exist(page):
    makefile = (ROOT / 'Makefile').read_text()
    executables = re.findall(r'^    (\w+)=', (ROOT / 'CMakeLists.txt').read_text(), re.MULTILINE)
    for target in re.findall(r'(?:^|`|; )make ([a-z][a-z-]*)', code(page), re.MULTILINE):
        assert re.search(rf'^{target}:', makefile, re.MULTILINE), target
    for executable in re.findall(r'ros2 run grasp_ros (\w+)', code(page)):
        assert executable in executables
    for launch in re.findall(r'ros2 launch grasp_ros (\S+)', code(page)):
        assert (ROOT / 'launch' / launch).exists(), launch


@pytest.mark.parametrize('page', WRITTEN, ids=name)
def test_parameters_exist(page):
    from grasp_ros.parameters.table import KNOWN

    known = set(KNOWN)
    groups = '|'.join({row.split('.')[0] for row in known if '.' in row})
    spans = re.findall(r'`([^`]+)`', prose(page))
    named = [span.split(':')[0] for span in spans if re.match(rf'({groups})\.\w+(: \S+)?$', span)]
    files = {path.name for path in (ROOT / 'grasp_ros').rglob('*.py')}
    assert set(named) - files <= known


def test_the_walk_names_what_is_in_its_files():
    """`NAME` in `FILE`, or `NAME` and `NAME` in `FILE`: a class, function or method."""
    text = re.sub(r'\s+', ' ', prose(ROOT / 'docs' / 'architecture.md'))
    pairs = re.findall(r'((?:`[\w.]+`(?:,| and)? )+)in `(grasp_ros/[\w/]+\.py)`', text)
    assert len(pairs) > 20
    for names, file in pairs:
        for full in re.findall(r'`([\w.]+)`', names):
            source, parts = (ROOT / file).read_text(), full.split('.')
            assert re.search(rf'^(class|def) {parts[0]}\b', source, re.MULTILINE), (full, file)
            for method in parts[1:]:
                assert re.search(rf'^    def {method}\b', source, re.MULTILINE), (full, file)


def commands(page):
    """The commands of a page, split into words, with the arguments that make hands on."""
    block = '\n'.join(re.findall(r'^ *```sh\n(.*?)^ *```$', page.read_text(), re.M | re.S))
    words = shlex.split(block.replace('\\\n', ' '), comments=True)
    return [part for word in words
            for part in (shlex.split(word[5:]) if word.startswith('ARGS=') else [word])]


@pytest.mark.parametrize('page', WRITTEN, ids=name)
def test_options_exist(page):
    others = {'--packages-select', '--head', '--port'}  # of colcon and ray
    sources = '\n'.join(
        path.read_text() for folder in ('grasp_ros', 'test/system')
        for path in (ROOT / folder).rglob('*.py')
    )
    for word in commands(page):
        option = word.split('=')[0]
        if word.startswith('--') and option not in others:
            field = option[2:].replace('-', '_')  # many are made of a dataclass
            assert f"'{option}'" in sources or re.search(rf'^    {field}: ', sources, re.M), option


@pytest.mark.parametrize('page', WRITTEN, ids=name)
def test_planners_of_the_benchmark_exist(page):
    from grasp_ros.benchmark.run.variants import VARIANTS

    words = commands(page)
    for start in (n for n, word in enumerate(words) if word == '--planners'):
        names = words[start + 1 :]
        end = next((n for n, word in enumerate(names) if word.startswith(('--', 'make'))), None)
        assert set(names[:end]) <= set(VARIANTS)
