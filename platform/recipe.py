"""The command: show what a recipe becomes, or what is known of a script.

python -m platform.recipe recipes/leaky_cosine.yaml            the entry program: imports and one Recipe(...)
python -m platform.recipe recipes/leaky_cosine.yaml --program  the one file that runs, is counted and ships
python -m platform.recipe recipes/leaky_cosine.yaml --diff recipes/gptq_lite_414.yaml   what differs: the ablation
python -m platform.recipe path/to/train_gpt.py [--json]        what is known of anybody's script, without running it
"""

from pathlib import Path

import click

from .errors import explained
from .program import recipe as recipes
from .program.recipe import DEFAULT_SCALE
from .scripts import show as scripts

FILE = click.Path(path_type=Path)


@click.command(help="Show the entry program that a recipe becomes, or what is known of a script (.py) by its text.")
@click.argument("recipe", type=FILE)
@click.option("--scale", help=f"The machine it is for: a file of recipes/scales/.  [default: {DEFAULT_SCALE}]")
@click.option("--arm", "arms", multiple=True, metavar="NAME", help="Only this arm; may be given several times.")
@click.option("--program", "as_program", is_flag=True, help="The one file that runs, is counted and ships.")
@click.option("--resolved", "as_yaml", is_flag=True, help="Every knob with its value, defaults included.")
@click.option("--diff", "other", metavar="RECIPE", type=FILE, help="What differs from the program of RECIPE.")
@click.option("--json", "is_json", is_flag=True, help="Of a script: as JSON, for programs.")
@explained()
def main(
    recipe: Path,
    scale: str | None,
    arms: tuple[str, ...],
    as_program: bool,
    as_yaml: bool,
    other: Path | None,
    is_json: bool,
) -> None:
    if scripts.is_script(recipe):
        if scale or arms or as_program or as_yaml or other:
            raise click.UsageError(f"{recipe} is a script: of the options it takes --json alone")
        print(scripts.known(recipe, is_json=is_json), end="")
        return
    if is_json:
        raise click.UsageError(f"--json is for a script, train_gpt.py for example; {recipe} is a recipe")
    if as_program + as_yaml + (other is not None) > 1:
        raise click.UsageError("--program, --resolved and --diff exclude each other")
    choices = recipes.load(recipe, scale)
    choices = recipes.with_arms(choices, arms) if arms else choices
    if other:
        text = recipes.difference(recipes.load(other, scale), choices)
    elif as_program:
        text = recipes.program(choices)
    else:
        text = recipes.resolved_yaml(choices, with_cluster=True) if as_yaml else recipes.entry_program(choices)
    print(text, end="")


if __name__ == "__main__":
    main()
