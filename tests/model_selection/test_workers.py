"""Several processes work on one study, and some of them die."""

import os
import signal
import socket
import subprocess
import sys
import time

import optuna
import pytest

from sklstm.model_selection import _study as study_module
from sklstm.model_selection import _workers as workers_module

SLEEPER = """
import sys, time, optuna
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from scipy.stats import uniform
from sklstm import OptunaSearchCV

class Slow(ClassifierMixin, BaseEstimator):
    def __init__(self, quality=0.0): self.quality = quality
    def fit(self, X, y):
        self.classes_ = [0, 1, 2]
        print("fit", flush=True)
        time.sleep(float(sys.argv[3]))
        return self
    def predict(self, X): return [0] * len(X)
    def score(self, X, y): return self.quality

storage = sys.argv[1]
if storage.endswith(".log"):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    storage = JournalStorage(JournalFileBackend(storage))
search = OptunaSearchCV(
    Slow(), {"quality": uniform(0, 1)}, n_trials=int(sys.argv[2]), cv=2,
    storage=storage, study_name="s", refit=False, pruner=optuna.pruners.NopPruner(),
).fit(*load_iris(return_X_y=True))
print(len(search.cv_results_["params"]), flush=True)
"""


def start(storage, n_trials, seconds):
    return subprocess.Popen(
        [sys.executable, "-c", SLEEPER, storage, str(n_trials), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )


def trials_of(storage):
    if storage.endswith(".log"):
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        storage = JournalStorage(JournalFileBackend(storage))
    study = optuna.load_study(study_name="s", storage=storage)
    trials = study.trials
    study._storage.remove_session()
    engine = getattr(getattr(study._storage, "_backend", None), "engine", None)
    if engine is not None:
        engine.dispose()
    return trials


@pytest.fixture(
    params=[
        "journal",
        pytest.param("sqlite", marks=pytest.mark.slow),
        pytest.param("postgresql", marks=pytest.mark.slow),
    ]
)
def storage(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/s.db"
    if request.param == "journal":
        return str(tmp_path / "s.log")
    return request.getfixturevalue("postgresql")


@pytest.mark.slow
def test_a_killed_process_loses_nothing_that_was_finished(tmp_path):
    storage = f"sqlite:///{tmp_path}/s.db"
    process = start(storage, 6, 0.3)
    for _ in range(6):  # two trials of two folds, and into the third
        assert process.stdout.readline() == "fit\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    before = trials_of(storage)
    done = [t for t in before if t.state.name == "COMPLETE"]
    running = [t for t in before if t.state.name == "RUNNING"]
    assert len(done) >= 2
    assert len(running) == 1

    process = start(storage, 6, 0.0)
    assert process.communicate(timeout=60)[0].splitlines()[-1] == "6"
    after = trials_of(storage)
    complete = {t.number: t.value for t in after if t.state.name == "COMPLETE"}
    assert len(complete) == 6
    assert all(complete[t.number] == t.value for t in done)
    lost = after[running[0].number]
    assert lost.state.name == "FAIL"
    retried = [t.number for t in after if t.params == lost.params]
    assert len(retried) == 2  # the same parameters were tried again


@pytest.mark.slow
def test_two_processes_work_on_one_study(storage):
    processes = [start(storage, 9, 0.05) for _ in range(2)]
    fits = [process.communicate(timeout=60)[0].count("fit") for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    trials = trials_of(storage)
    counted = [t for t in trials if study_module.counts(t)]
    assert len(counted) == 9
    assert {t.state.name for t in counted} == {"COMPLETE"}
    assert sum(fits) == 18  # each trial of two folds was run once
    assert min(fits) > 0


def test_of_two_that_ask_for_the_last_trial_one_stays(monkeypatch):
    study = optuna.create_study(direction="maximize")
    ask = study.ask

    def after_another():
        ask()  # between our counting and our asking
        return ask()

    monkeypatch.setattr(study, "ask", after_another)
    assert workers_module.Worker(study, shared=False).ask(1) is None
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "FAIL"]
    assert [study_module.counts(trial) for trial in study.trials] == [True, False]


@pytest.mark.parametrize(("host", "pid", "silent", "lost"), [
    ("here", "own", 0, False),
    ("here", 2**22 + 1, 0, True),  # beyond the largest process number
    ("here", "own", 700, True),  # the number is another process' by now
    ("elsewhere", 1, 100, False),
    ("elsewhere", 1, 700, True),
])  # fmt: skip
def test_whose_process_is_dead(host, pid, silent, lost):
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    trial.suggest_float("quality", 0, 1)
    host = socket.gethostname() if host == "here" else host
    pid = os.getpid() if pid == "own" else pid
    trial.set_user_attr(workers_module.WORKER, f"{host}:{pid}:abc")
    trial.set_user_attr(workers_module.BEAT, time.time() - silent)
    again = workers_module.Worker(study, shared=True).ask(1)
    if lost:
        assert study.trials[0].state.name == "FAIL"
        assert again.suggest_float("quality", 0, 1) == trial.params["quality"]
    else:
        assert study.trials[0].state.name == "RUNNING"
        assert again is None


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory):
    """A server of its own, on loopback, in a temporary folder."""
    import glob
    import shutil

    pytest.importorskip("psycopg", reason="psycopg is not installed")
    places = [os.environ.get("PATH", ""), *glob.glob("/usr/lib/postgresql/*/bin")]
    initdb = shutil.which("initdb", path=os.pathsep.join(places))
    if initdb is None:
        pytest.skip("no PostgreSQL server is installed")
    folder = tmp_path_factory.mktemp("postgresql")
    as_user = []
    if os.geteuid() == 0:  # the server refuses to run as root
        as_user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        place = folder
        while place != place.parent and place.stat().st_uid == 0:
            if place.stat().st_mode & 0o005 != 0o005 and str(place) != "/tmp":
                place.chmod(0o755)
            place = place.parent
        os.chown(folder, 65534, 65534)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = str(folder / "data")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "cwd": folder}
    made = subprocess.run(
        [*as_user, initdb, "-D", data, "-U", "sklstm", "--auth=trust"], **quiet
    )
    assert made.returncode == 0, made.stderr
    server = subprocess.Popen(
        [*as_user, initdb.replace("initdb", "postgres"), "-D", data, "-p", str(port),
         "-h", "127.0.0.1", "-k", str(folder)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
    )  # fmt: skip
    import psycopg

    for _ in range(100):
        try:
            psycopg.connect(
                host="127.0.0.1", port=port, user="sklstm", dbname="postgres"
            ).close()
            break
        except psycopg.OperationalError:
            time.sleep(0.1)
    yield f"postgresql+psycopg://sklstm@127.0.0.1:{port}/postgres"
    server.send_signal(signal.SIGINT)  # does not wait for clients to leave
    server.wait(timeout=30)
