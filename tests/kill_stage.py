"""Run one `moviebot` stage, kill it with SIGKILL at a random moment, run it again to its end; and so again and again.

Usage: python kill_stage.py TIMES SECONDS BEFORE AFTER ARGUMENTS...

Imports come first and each run is a fork, so that the moments fall into the stage's own work and not into the start of
Python. SECONDS is about how long the work takes. Each time the stage starts from a copy of the folder BEFORE; the n-th
result is left in the folder AFTER/n. ARGUMENTS are the command line without `--out`. Prints how many runs were killed
before they ended.
"""

import importlib
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from moviebot.cli import COMMANDS, run


def main() -> int:
    times, seconds, before, after = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    arguments = sys.argv[5:]
    importlib.import_module(COMMANDS[arguments[0]].module)
    rng = random.Random(0)
    killed = 0
    for number in range(times):
        out = after / str(number)
        shutil.copytree(before, out)
        child = start_stage([*arguments, "--out", str(out)])
        time.sleep(rng.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)  # a child that has ended is still there to be waited for
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        code = os.waitstatus_to_exitcode(os.waitpid(start_stage([*arguments, "--out", str(out)]), 0)[1])
        if code:
            return code
    print(killed)
    return 0


def start_stage(arguments: list[str]) -> int:
    child = os.fork()
    if child == 0:
        os._exit(run(arguments))
    return child


if __name__ == "__main__":
    sys.exit(main())
