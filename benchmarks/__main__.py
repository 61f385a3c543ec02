"""The command line: `python -m benchmarks [name ...] [--rounds N] [--quick] [--threads N] [--json FILE]`."""

import argparse
import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import torch
from rich.console import Console

from benchmarks import comparisons
from benchmarks.interleave import measure
from benchmarks.report import Finding, conditions, markdown, show
from benchmarks.setting import Setting, find_device
from lth.experiment._environment import environment


def names() -> list[str]:
    """Names of all comparisons: the files of `benchmarks/comparisons/`."""
    return sorted(module.name for module in iter_modules(comparisons.__path__))


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line; exits with a message if it is invalid."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description="Throughput ratios, measured alternately in one process."
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of {', '.join(names())} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds A B B A after a warm-up (default 5)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only checks that everything runs")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch (default 1, which varies least)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto: a GPU if there is one")
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16 autocast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's seconds to FILE")
    args = parser.parse_args(given)
    if unknown := [name for name in args.names if name not in names()]:
        parser.error(f"no comparison {', '.join(unknown)}; there are {', '.join(names())}")
    if args.rounds < 1 or args.threads < 1:
        parser.error("--rounds and --threads must be 1 or more")
    return args


def main(given: Sequence[str] | None = None) -> None:
    """Run the comparisons that the command line names, and report them."""
    args = arguments(given)
    torch.set_num_threads(args.threads)
    setting = Setting(find_device(args.device), args.quick, args.bf16)
    console = Console()
    findings = [found for name in args.names or names() for found in run(name, setting, args.rounds, console)]
    line = conditions(setting, args.rounds)
    show(console, findings, line)
    print(f"\n{markdown(findings, line)}")
    if args.json:
        record = {"environment": environment(), "device": setting.device.type, "quick": args.quick, "bf16": args.bf16}
        args.json.write_text(json.dumps({**record, "findings": [found.record() for found in findings]}, indent=1))


def run(name: str, setting: Setting, rounds: int, console: Console) -> Iterator[Finding]:
    """Run the comparisons of one file."""
    module = import_module(f"benchmarks.comparisons.{name}")
    with console.status(name) as status:
        for comparison in module.comparisons(setting):
            yield Finding(name, measure(comparison, rounds, lambda line: status.update(f"{name}, {line}")))
            console.print(f"{name}, {comparison.title}: done")


if __name__ == "__main__":
    main()
