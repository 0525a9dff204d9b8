"""The fits of a benchmark: several at once, and each a line of a file."""

import json
import os
import platform
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


def add_arguments(parser):
    """Add the options ``--jobs`` and ``--store``."""
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--store", type=Path)


def run_fits(fit, jobs, *arguments, n_jobs=1, store=None, tell=None):
    """Run ``fit(job, *arguments)`` for each job, and return what it gave.

    Parameters
    ----------
    fit : function
        Returns a dict that holds the items of the job and its results.
    jobs : list of dict
        All have the same names.
    *arguments : object
        Further arguments of `fit`.
    n_jobs : int
        Number of fits at once. With more than one, each has one thread.
    store : Path or None
        File with a line for each fit that was done. Fits in it do not run again.
    tell : function or None
        Is called with the result of each fit.

    Returns
    -------
    list of dict
        The results of these jobs.
    """

    def key(line):
        return json.dumps({name: line.get(name) for name in jobs[0]}, sort_keys=True)

    lines = []
    if store and store.exists():
        lines = list(map(json.loads, store.read_text().splitlines()))
    wanted, done = set(map(key, jobs)), set(map(key, lines))
    missing = [job for job in jobs if key(job) not in done]
    print(f"{len(missing)} of {len(jobs)} fits to do", flush=True)
    before = {name: os.environ.get(name) for name in THREADS}
    if n_jobs > 1:
        os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        with ProcessPoolExecutor(n_jobs, get_context("spawn")) as processes:
            running = [processes.submit(fit, job, *arguments) for job in missing]
            for future in as_completed(running):
                line = future.result()
                lines.append(line)
                if store:
                    with store.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                if tell is not None:
                    tell(line)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return [line for line in lines if key(line) in wanted]


def versions():
    """Return the cores and the versions that figures depend on."""
    packages = ("scikit-learn", "keras", "tensorflow")
    found = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {found}"
