"""`tfopt diagnose`: the command line."""

import contextlib
import importlib
import logging
import pathlib
import sys

from tfopt._check import require, require_integer
from tfopt._cli import OneLineParser, interrupted, show, wrong
from tfopt.compare.settings import BUNDLED_DATA

DESCRIPTION = """\
Say why a saved model does not train, and what to try.

All diagnostics run on the model as it was saved, with its compiled loss: the gradient by layer and by time
step, the critical learning rate, the Hessian's spectrum, the noise of the gradient, dead, saturated and
identical units, biases and batches of batch normalisation, and the output's bias. The findings are printed,
and written with all numbers as one self-contained page."""

EPILOG = """\
Data are an .npz file with arrays x and y (x/NAME and y/NAME for several inputs and outputs; sample_weight if
there is one), or a data set of `tfopt compare`, of which the images are scaled to [0, 1].

Examples:
  tfopt diagnose model.keras --data train.npz
  tfopt diagnose model.keras --data digits --batch-size 64 --output reports/model.html

Exit code: 0 done, whatever was found; 2 wrong arguments; 130 interrupted."""


def add_arguments(parser):
    """Declare the options of `tfopt diagnose` on an argparse parser."""
    parser.add_argument("model", metavar="MODEL.keras", help="a saved model, compiled with a loss")
    parser.add_argument(
        "--data", required=True, metavar="DATA", help=f"NAME.npz, {', '.join(BUNDLED_DATA)} or tfds:NAME"
    )
    parser.add_argument("--output", metavar="FILE", help="the page (default: MODEL-diagnosis.html, here)")
    parser.add_argument(
        "--samples", type=int, default=512, metavar="N", help="samples to look at, by chance (default: 512)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, metavar="B", help="samples in a batch of training (default: 32)"
    )
    parser.add_argument(
        "--learning-rate", type=float, metavar="RATE", help="ε to judge (default: the saved optimizer's)"
    )
    parser.add_argument(
        "--steps", type=int, default=24, metavar="K", help="Lanczos steps of the spectrum (default: 24)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which samples are looked at (default: 0)")
    parser.add_argument(
        "--import",
        dest="modules",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="modules to import first, which register the model's own classes",
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", help="folder of prepared data (default: tensorflow-datasets' own)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no table")


def new_parser():
    """The parser of `tfopt diagnose`."""
    parser = OneLineParser("diagnose", DESCRIPTION, EPILOG)
    add_arguments(parser)
    return parser


def main(arguments=None):
    """Run `tfopt diagnose`.

    Args:
        arguments: List of command-line arguments, without the program's name; default those of the process.

    Returns:
        Exit code: 0 done, 2 wrong arguments, 130 interrupted.
    """
    options = new_parser().parse_args(arguments)
    try:
        diagnosis, page = _execute(options)
    except ValueError as error:
        return wrong(error)
    except KeyboardInterrupt:
        return interrupted("diagnose", "nothing was written.")
    _show(diagnosis, page, options)
    return 0


def _execute(options):
    """The diagnosis, and where its page is."""
    require_integer("diagnose", 2, samples=options.samples)
    require_integer("diagnose", 0, seed=options.seed)
    page = _page(options)
    # The reader of the data logs what it looks for and where; an error says what matters of that.
    logging.getLogger("absl").setLevel(logging.ERROR)
    from tfopt.diagnose.data import load_data, load_model
    from tfopt.diagnose.diagnosis import diagnose

    _import(options.modules)
    model = load_model(options.model)
    data = load_data(options.data, model, options.samples, options.seed, options.data_dir)
    chosen = dict(batch_size=options.batch_size, learning_rate=options.learning_rate, steps=options.steps)
    with _progress(options.quiet) as progress:
        diagnosis = diagnose(model, *data[:3], samples=data.total, progress=progress, **chosen)
    diagnosis.save(page)
    return diagnosis, page


def _page(options):
    """Where the page goes; checked before the work, not after it."""
    page = pathlib.Path(options.output or f"{pathlib.Path(options.model).stem}-diagnosis.html").absolute()
    good = page.parent.is_dir() and not page.is_dir()
    require(good, "diagnose", "output", str(page), "a file in a folder that exists")
    return page


def _import(modules):
    sys.path.insert(0, "")
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # what a module of the user's may raise
            said = f"{type(error).__name__}: {error}"
            raise ValueError(
                f"diagnose(import={name!r}): expected a module that can be imported; {said}"
            ) from None


@contextlib.contextmanager
def _progress(quiet):
    """A function that names the diagnostic under way on stderr, None where nobody wants to know."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    with console.status("") as status:
        yield lambda title: status.update(f"{title} …")


def _show(diagnosis, page, options):
    if not options.quiet:
        from tfopt.diagnose.table import findings_table

        show(findings_table(diagnosis))
    print(f"The page is {page}")
