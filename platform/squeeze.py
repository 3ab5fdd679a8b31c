"""The command: make a program smaller that does the same.

python -m platform.squeeze train_gpt.py > small.py           plain Python: what only readers need is gone
python -m platform.squeeze train_gpt.py --packed > tiny.py   the same inside lzma and base85, as the field does it
"""

import sys
from pathlib import Path

import click

from .errors import UserError, explained
from .paths import shown
from .program.squeeze import Form


@click.command(help="Print a smaller program that does the same as PROGRAM, a train_gpt.py.")
@click.argument("program", type=click.Path(path_type=Path))
@click.option("--packed", is_flag=True, help="One that unpacks itself: lzma in base85, not readable any more.")
@explained()
def main(program: Path, packed: bool) -> None:
    try:
        text = program.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{shown(program)}: cannot be read as text: {error}") from None
    smaller = (Form.PACKED if packed else Form.SQUEEZED).of(text)
    print(smaller, end="")
    sizes = (f"{len(program.encode()):,} bytes in {program.count(chr(10)):,} lines" for program in (text, smaller))
    print(" to ".join(sizes), file=sys.stderr)


if __name__ == "__main__":
    main()
