"""All of them, one after the other.

    python -m benchmarks [--json FOLDER] [--svg FOLDER] [--short] [NAME ...]

``--json`` keeps the raw figures, ``--svg`` draws each result; ``--short`` only shows that the scripts work.
Exit status 1 where a goal is missed, unless it is the short form, or where a script fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

SCRIPTS = {
    "capture": "--rounds 1 --count 50",
    "delivery": "--rounds 1 --count 40",
    "cpu": "--rounds 1 --count 60",
    "interference": "--rounds 1 --seconds 0.3",
    "idle": "--rounds 1 --count 5",
    "backlog": "--count 20000",
    "middleware": "--rounds 1 --count 40",
    "threads": "--rounds 1 --count 10",
    "processes": "--rounds 1 --count 20",
    "durability": "--rounds 1 --count 20",
    "asyncio_tasks": "--rounds 1 --count 2",
    "decorator": "--rounds 1 --count 40",
    "startup": "--rounds 1",
}
"""Each script, and its short form."""


def main() -> None:
    """Runs them, and says at the end which did not come to a good end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these of {', '.join(SCRIPTS)}")
    parser.add_argument("--json", metavar="FOLDER", type=Path, help="keep the raw figures")
    parser.add_argument("--svg", metavar="FOLDER", type=Path, help="draw the results")
    parser.add_argument("--short", action="store_true", help="only show that they work")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - SCRIPTS.keys():
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(SCRIPTS)}")
    if chosen.svg:
        chosen.svg.mkdir(parents=True, exist_ok=True)
    missed = []
    for name in chosen.names or SCRIPTS:
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        command += [*SCRIPTS[name].split(), "--no-goal"] if chosen.short else []
        command += ["--json", str(chosen.json)] if chosen.json else []
        command += ["--svg", str(chosen.svg / f"{name}.svg")] if chosen.svg else []
        print(f"\n== {name}", flush=True)
        if subprocess.run(command, check=False).returncode:
            missed.append(name)
    if missed:
        print(f"\na goal was missed, or the script failed, in: {', '.join(missed)}")
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
