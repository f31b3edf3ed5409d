"""Checks and times the CUDA kernels on this machine's GPU, beside PyTorch and JAX; needs no TensorFlow.

``python benchmarks/device/run.py --output FOLDER`` compiles them, prints tables, keeps ``device.json``.
"""

import argparse
import importlib
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main(arguments=None):
    """The command line."""
    options = parser().parse_args(arguments)
    sys.path.insert(0, str(ROOT))
    result = run(options)
    for table in result["tables"]:
        print(markdown(table["title"], table["rows"]))
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result, indent=1, ensure_ascii=False)
        (options.output / "device.json").write_text(text + "\n", encoding="utf-8")


def parser():
    """What the command line takes."""
    made = argparse.ArgumentParser(prog="python benchmarks/device/run.py", description=__doc__)
    made.add_argument("--output", type=pathlib.Path, help="folder for device.json")
    made.add_argument("--rounds", type=int, default=31, help="measurements of each contender (31)")
    made.add_argument("--calls", type=int, default=10, help="updates in one measurement (10)")
    made.add_argument("--smoke", action="store_true", help="tiny tensors, which measure nothing")
    made.add_argument(
        "--cpu", action="store_true", help="no GPU: the kernels' work in loops on the CPU, on tiny tensors"
    )
    made.add_argument("--library", type=pathlib.Path, help="this one, instead of one compiled now")
    return made


def run(options):
    """Everything that is kept."""
    check, speed, library, normalize = (
        importlib.import_module(f"benchmarks.device.{name}")
        for name in ("_check", "_speed", "_library", "_normalize_tables")
    )
    device = "cpu" if options.cpu else "cuda"
    smoke = options.cpu or options.smoke
    with tempfile.TemporaryDirectory() as folder:
        path = options.library or library.build(folder, emulated=options.cpu)
        native = library.Library(path, emulated=options.cpu)
        bench = speed.Bench(native, device, options.rounds, options.calls)
        tables = [
            {
                "title": "Errors of every rule, 1 is what roundings explain",
                "rows": list(check.run(native, device)),
            },
            {"title": "Errors of the norm", "rows": list(check.check_norms(native, device))},
            {
                "title": "Errors of normalisation, 1 is what roundings explain",
                "rows": list(normalize.check(native, device)),
            },
        ]
        peers = speed.check_peers(bench, importlib.import_module("benchmarks.device._sets").SMOKE)
        peers["torch.nn's normalisation"] = normalize.check_peers(bench)
        tables += [{"title": title, "rows": plain(rows)} for title, rows in speed.run(bench, smoke)]
        rows = plain(normalize.speed(bench, smoke))
        tables.append({"title": "Normalisation, forward and backward", "rows": rows})
    return {
        "machine": machine(device),
        "rounds": options.rounds,
        "smoke": smoke,
        "peers": peers,
        "tables": tables,
    }


def machine(device):
    """The device's name, and the versions of what took part."""
    torch = importlib.import_module("torch")
    known = importlib.import_module("benchmarks._machine")
    found = known.description()
    for package in ("torch", "jax", "jaxlib"):
        found[package] = known.installed(package)
    if device == "cuda":
        said = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
        found |= {"device": torch.cuda.get_device_name(), "nvcc": said.strip().splitlines()[-1]}
    else:
        found |= {"device": "none: emulated on the CPU"}
    return found


def plain(rows):
    """Rows with ratios as JSON holds them."""
    return [
        {key: value._asdict() if hasattr(value, "_asdict") else value for key, value in row.items()}
        for row in rows
    ]


def markdown(title, rows):
    """A table."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---:"] * len(columns), *([cell(row.get(c)) for c in columns] for row in rows)]
    return f"### {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def cell(value):
    """Three digits; a ratio as its median with its quartiles."""
    if isinstance(value, dict):
        return f"{value['median']:.2f} ({value['low']:.2f}–{value['high']:.2f})"
    if isinstance(value, float):
        return f"{value:.3g}"
    return "–" if value is None else str(value)


if __name__ == "__main__":
    main()
