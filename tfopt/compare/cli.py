"""`tfopt compare`: the command line."""

import logging
import pathlib

from tfopt._check import require
from tfopt._cli import OneLineParser, interrupted, show, wrong
from tfopt.compare.settings import BUNDLED_DATA, MODELS, RATE_GRID

DESCRIPTION = """\
Train one model on one data set with many optimizers, all with the same budget, and compare them.

Every optimizer starts from the same weights and sees the same batches at the same seed. Learning rates are
tuned on a seed of their own unless given. With --output the results are written as one self-contained page
(index.html), results.json and results.csv, and every finished run is kept: interrupted, the same command
goes on where it was."""

EPILOG = """\
An optimizer is a class of tfopt, or one of Keras' after "keras:", with options in Python's notation:
  Adam   keras:Adam   'Adam(beta_1=0.8)'   'PolyakAverage(Momentum)'   'Adam(learning_rate=0.01)'

Examples:
  tfopt compare --output demo
  tfopt compare --optimizers Adam keras:Adam Nesterov --model cnn --evaluations 2000 --output cnn
  tfopt compare --data digits --seconds 2 --learning-rates Adam=0.001 SGD=tune --output digits

Exit code: 0 done, 2 wrong arguments, 130 interrupted."""

SMOKE = dict(data="digits", evaluations=8, seeds=1, batch_size=16, points=4, tuning_rates=(0.01, 0.1))


def add_arguments(parser):
    """Declare the options of `tfopt compare` on an argparse parser."""
    what = parser.add_argument_group("what to compare")
    what.add_argument("--model", help=f"one of {', '.join(MODELS)} (default: mlp)")
    what.add_argument("--data", help=f"{', '.join(BUNDLED_DATA)} or tfds:NAME (default: mnist5k)")
    what.add_argument(
        "--optimizers",
        nargs="+",
        metavar="NAME",
        help="optimizers to compare (default: all of tfopt, and keras:Adam)",
    )
    how = parser.add_argument_group("how long and how often")
    how.add_argument(
        "--evaluations", type=int, metavar="N", help="budget of a run in gradient evaluations (default: 1000)"
    )
    how.add_argument(
        "--seconds", type=float, metavar="S", help="budget of a run in seconds of training instead"
    )
    how.add_argument("--seeds", type=int, metavar="K", help="runs per optimizer (default: 3)")
    how.add_argument(
        "--batch-size", type=int, metavar="B", help="examples per gradient evaluation (default: 64)"
    )
    how.add_argument("--points", type=int, metavar="P", help="measurements per run (default: 20)")
    rates = parser.add_argument_group("learning rates")
    rates.add_argument(
        "--learning-rates",
        nargs="+",
        metavar="RATE",
        help="tune, default, one number for all, or NAME=RATE ... (the others are tuned) (default: tune)",
    )
    grid = ", ".join(f"{rate:g}" for rate in RATE_GRID)
    rates.add_argument(
        "--tuning-rates", nargs="+", type=float, metavar="RATE", help=f"rates to try (default: {grid})"
    )
    rates.add_argument(
        "--tuning-share", type=float, metavar="F", help="share of the budget for each trial (default: 0.25)"
    )
    target = parser.add_argument_group("targets, whose time of arrival is reported")
    target.add_argument(
        "--target-accuracy", type=float, metavar="A", help="validation accuracy (default: 0.9)"
    )
    target.add_argument("--target-loss", type=float, metavar="L", help="training loss")
    files = parser.add_argument_group("files")
    files.add_argument(
        "--output", metavar="DIR", help="folder for the page, the results and the finished runs"
    )
    files.add_argument("--fresh", action="store_true", help="forget the runs stored in --output")
    files.add_argument(
        "--data-dir", metavar="DIR", help="folder of prepared data (default: tensorflow-datasets' own)"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="a tiny run that only shows that everything works"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no table")


def new_parser():
    """The parser of `tfopt compare`."""
    parser = OneLineParser("compare", DESCRIPTION, EPILOG)
    add_arguments(parser)
    return parser


def main(arguments=None):
    """Run `tfopt compare`.

    Args:
        arguments: List of command-line arguments, without the program's name; default those of the process.

    Returns:
        Exit code: 0 done, 2 wrong arguments, 130 interrupted.
    """
    options = new_parser().parse_args(arguments)
    try:
        plan = _plan(options)
    except ValueError as error:
        return wrong(error)
    except KeyboardInterrupt:
        return interrupted("compare", "nothing was begun.")
    try:
        comparison = _execute(plan, options)
    except KeyboardInterrupt:
        return interrupted("compare", _how_to_resume(plan))
    _show(comparison, options)
    return 0


def _plan(options):
    keywords = _keywords(options)
    # The reader of the data logs what it looks for and where; an error says what matters of that.
    logging.getLogger("absl").setLevel(logging.ERROR)
    from tfopt.compare.comparison import Plan

    return Plan(**keywords)


def _keywords(options):
    """The arguments of `Plan`: what was given, else the defaults of a smoke run if it is one."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    smoke, _ = given.pop("smoke"), given.pop("quiet")
    if "optimizers" in given:
        given["optimizers"] = [name for text in given["optimizers"] for name in split_names(text)]
    if "learning_rates" in given:
        given["learning_rates"] = parse_rates(given["learning_rates"])
    if "tuning_rates" in given:
        given["tuning_rates"] = tuple(given["tuning_rates"])
    defaults = dict(SMOKE) if smoke else {}
    if "seconds" in given:
        defaults.pop("evaluations", None)
    return defaults | given


def split_names(text):
    """Split at commas outside parentheses.

    Example:
        >>> split_names("SGD,Adam(beta_1=0.8, beta_2=0.9)")
        ['SGD', 'Adam(beta_1=0.8, beta_2=0.9)']
    """
    names, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            names.append("")
        else:
            names[-1] += character
    return [name.strip() for name in names if name.strip()]


def parse_rates(words):
    """Read `--learning-rates`: a word for all, a number for all, or NAME=RATE, NAME=tune.

    Example:
        >>> parse_rates(["0.1"]), parse_rates(["SGD=0.1", "Adam=tune"])
        (0.1, {'SGD': 0.1})
    """
    words = [word for text in words for word in split_names(text)]
    if len(words) == 1 and "=" not in words[0]:
        return words[0] if words[0] in ("tune", "default") else _number(words[0])
    rates = {}
    for word in words:
        name, separator, rate = word.rpartition("=")
        require(separator and name, "compare", "learning_rates", word, "tune, default, a number or NAME=RATE")
        if rate != "tune":
            rates[name] = _number(rate)
    return rates


def _number(text):
    try:
        return float(text)
    except ValueError:
        require(False, "compare", "learning_rates", text, "tune, default, a number or NAME=RATE")


def _execute(plan, options):
    if options.quiet:
        return plan.execute()
    from tfopt.compare.progress import Bars

    return plan.execute(Bars())


def _show(comparison, options):
    if not options.quiet:
        from tfopt.compare.table import leaderboard_table

        show(leaderboard_table(comparison))
    if options.output is not None:
        print(f"The page is {pathlib.Path(options.output).resolve() / 'index.html'}")


def _how_to_resume(plan):
    if plan.output is None:
        return "nothing was kept: give --output to be able to go on later."
    return f"{len(plan.store)} results are kept in {plan.output}, the same command goes on from there."
