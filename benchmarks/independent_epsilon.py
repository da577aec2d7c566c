"""Have an accountant of another make recompute the epsilon of DP-SGD: Google's dp-accounting, in an environment of its own.

It pins versions of its own, so that it never stands beside the project's. Where no environment can be made, this says why
and exits with 2; beyond 1 % it exits with 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import venv
from pathlib import Path

from memcore.study.training.accountant import spent_epsilon

PACKAGE = "dp-accounting==0.6.0"
AGREES = 0.01
#: Noise, chance of a row, steps, delta, copies of an image.
CASES = (
    (1.0, 1.0, 1, 1e-5, 1),
    (1.0, 0.05, 400, 1e-4, 1),
    (0.6, 0.05, 400, 1e-4, 1),
    (2.0, 0.25, 100, 1e-5, 1),
    (4.0, 0.05, 100, 1e-4, 10),
)
_OTHER = """
import json, math, sys
from dp_accounting.pld import privacy_loss_distribution as pld

for sigma, rate, steps, delta, copies in json.loads(sys.argv[1]):
    chances = [math.comb(copies, j) * rate**j * (1 - rate) ** (copies - j) for j in range(copies + 1)]
    if copies == 1:
        one = pld.from_gaussian_mechanism(sigma, sampling_prob=rate, value_discretization_interval=1e-3)
    else:
        one = pld.from_mixture_gaussian_mechanism(
            sigma, list(range(copies + 1)), chances, value_discretization_interval=1e-3
        )
    print(one.self_compose(steps).get_epsilon_for_delta(delta), flush=True)
"""


def make_environment(folder: Path) -> Path:
    """Return the Python of an environment with dp-accounting; raise OSError or CalledProcessError if there can be none."""
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", PACKAGE], check=True, capture_output=True, text=True
    )
    return python


def main() -> int:
    """Print each epsilon beside the other accountant's, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--environment", type=Path, default=Path("build/dp-accounting"), help="folder of the environment"
    )
    arguments = parser.parse_args()
    try:
        python = make_environment(arguments.environment)
    except (OSError, subprocess.CalledProcessError) as error:
        told = str(getattr(error, "stderr", "") or error).strip().splitlines()
        print(f"no independent accountant: {told[-1] if told else error}", file=sys.stderr)
        return 2
    found = subprocess.run(
        [python, "-c", _OTHER, json.dumps(CASES)], check=True, stdout=subprocess.PIPE, text=True
    )
    worst = 0.0
    print("noise  chance  steps  delta  copies  memcore  dp-accounting")
    for case, line in zip(CASES, found.stdout.split(), strict=True):
        own, other = spent_epsilon(*case[:4], copies=case[4]), float(line)
        worst = max(worst, abs(own - other) / other)
        print(*case, f"{own:.5g}", f"{other:.5g}", sep="  ")
    print(f"they differ by at most {100 * worst:.3f} %")
    return int(worst > AGREES)


if __name__ == "__main__":
    sys.exit(main())
