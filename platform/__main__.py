"""``python -m platform`` lists the commands."""

import ast
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Print every command with the first line of what it says of itself; nothing of them is imported."""
    files = {path.stem: path for path in HERE.glob("*.py") if path.stem != "__main__"}
    files |= {path.parent.name: path for path in HERE.glob("*/__main__.py")}
    commands = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    helps = {name: _help(text) for name, text in commands.items() if "import click" in text and "def main(" in text}
    print("Multi-seed experiments for Parameter Golf. Each command takes --help.\n")
    for name in sorted(helps):
        print(f"  python -m platform.{name:10} {helps[name]}")


def _help(text: str) -> str:
    line = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    said = line.partition(": ")[2] or line
    return said[:1].upper() + said[1:]


if __name__ == "__main__":
    main()
