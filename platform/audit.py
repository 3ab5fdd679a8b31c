"""The command: ask a program whether the score of each of its arms is legal, with evidence.

python -m platform.audit recipes/leaky_cosine.yaml                  every arm, with the figures behind each verdict
python -m platform.audit recipes/leaky_cosine.yaml --arm sgd --json

A verdict is ``score_first`` (no token was learned before it was scored: a score that may be claimed), ``pre_eval`` (the
weights saw the stream before it was scored: a diagnostic) or ``violates`` and the detectors that fired. The evaluation
and the arms are those of the scale; the model is the recipe's at the scale smoke. No data are needed, no GPU, and some
seconds for each arm.

Exit status: 0 every verdict is what the arm's program declares, 1 some is not or an arm violates, 2 a wrong command.
"""

import json
from pathlib import Path

import click

from jobs.contract.files import to_data

from .errors import RunFailed, explained
from .options import described
from .program import recipe
from .reports.audit import show
from .running import audit

DEFAULT_SCALE = "laptop"  # of the evaluation and the arms


@click.command(help=described(__doc__))
@click.argument("recipe_path", metavar="RECIPE", type=click.Path(path_type=Path))
@click.option("--arm", "arms", multiple=True, metavar="NAME", help="Only this arm; may be given several times.")
@click.option("--scale", default=DEFAULT_SCALE, show_default=True, help="Whose evaluation and arms are audited.")
@click.option("--json", "as_json", is_flag=True, help="Everything that was found, for programs.")
@explained()
def main(recipe_path: Path, arms: tuple[str, ...], scale: str, as_json: bool) -> None:
    choices = audit.audited_choices(recipe_path, scale)
    asked = recipe.with_arms(choices, arms) if arms else choices
    found = audit.run(audit.audit_program(choices), tuple(asked.arms))
    if as_json:
        print(json.dumps(to_data(found), indent=2))
    else:
        show(found, recipe_path)
    audit.require_agreement(found)
    if found.unaudited:
        raise RunFailed(f"{', '.join(found.unaudited)}: not audited, the evaluation came to no end")


if __name__ == "__main__":
    main()
