"""Trainings in a process of their own that are killed: at a file operation, or after a while.

The processes are forked from a server that has imported torch once.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lvseg.train.options import TrainOptions

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["lvseg.train.trainer", "lvseg.cli", "kill_maker"])
#: Audit events of Python that change a folder, or open a file to do so.
_CHANGES = ("open", "os.rename", "os.remove", "os.mkdir")
#: A training here takes less; one that hangs must not hang the tests.
_PATIENCE_S = 300.0


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status (negative: the signal), and what it sent."""

    status: int
    sent: Any = None

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


def train(
    options: TrainOptions,
    dataset: Path,
    run: Path,
    *,
    kill_at: int | None = None,
    kill_after_s: float | None = None,
) -> Ended:
    """Train, or resume, and be killed; sends the number of operations if it comes to its end.

    :param kill_at: just before this operation on a file of the run folder, from 1.
    """
    return _ended(_train, (options.model_dump_json(), dataset, run, kill_at), kill_after_s)


def command(arguments: list[str], errors: Path, limit_bytes: int | None = None) -> Ended:
    """Run the command line, with stderr in a file; no file may grow beyond a limit."""
    return _ended(_command, (arguments, errors, limit_bytes), None)


def _ended(work: Any, arguments: tuple[Any, ...], kill_after_s: float | None) -> Ended:
    receiver, sender = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=work, args=(*arguments, sender), daemon=True)
    process.start()
    sender.close()
    if kill_after_s is not None:
        process.join(kill_after_s)
    else:
        process.join(_PATIENCE_S)
    process.kill()
    process.join()
    sent = None
    with contextlib.suppress(EOFError):
        sent = receiver.recv() if receiver.poll() else None
    assert process.exitcode is not None
    return Ended(process.exitcode, sent)


def _train(options: str, dataset: Path, run: Path, kill_at: int | None, sender: Connection) -> None:
    import torch

    from lvseg.train import trainer

    torch.set_num_threads(1)
    trainer.draw_curves = lambda log, path: path  # type: ignore[assignment]
    operations = 0

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal operations
        if event in _CHANGES and str(arguments[0]).startswith(str(run)):
            operations += 1
            if operations == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)
    trainer.fit(TrainOptions.model_validate_json(options), dataset, run, resume=True, device="cpu")
    sender.send(operations)


def _command(
    arguments: list[str], errors: Path, limit_bytes: int | None, sender: Connection
) -> None:
    from lvseg.cli import main

    if limit_bytes is not None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does by itself at its start
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    with errors.open("w") as file, contextlib.redirect_stderr(file):
        status = main(arguments)
    sender.send(status)
