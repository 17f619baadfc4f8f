"""Tables on the pages that are made from the code; as a command, write them anew.

Such a table stands between `<!-- NAME: begin (module.function) -->` and `<!-- NAME: end -->`; the
function returns it.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(
    r'(<!-- (?P<name>\w+): begin \((?P<function>[\w.]+)\) -->\n\n).*?(\n\n<!-- (?P=name): end -->)',
    re.DOTALL,
)


def with_tables(text: str) -> str:
    """A page with its tables as the code has them now."""

    def made(block: re.Match[str]) -> str:
        module, function = block['function'].rsplit('.', 1)
        table = getattr(importlib.import_module(module), function)()
        return block[1] + str(table) + block[4]

    return BLOCK.sub(made, text)


def pages() -> list[Path]:
    """The pages that have such tables."""
    return [page for page in sorted(DOCS.glob('*.md')) if BLOCK.search(page.read_text())]


if __name__ == '__main__':
    sys.path.insert(0, str(DOCS.parent / 'test'))  # for the table of faults
    for page in pages():
        before = page.read_text()
        after = with_tables(before)
        page.write_text(after)
        print(f'{page.name}: {"as before" if after == before else "written anew"}')
