"""The command in real processes that need not import PyTorch: they are forked from one that has imported everything.

A tiny run takes 14 s instead of 24 (two cores, 2026-11-27). A forked process runs the command's `main` with its own
folder, environment, pipes and signals, and ends as any process does. `python tests/search/forked.py FD` is the server;
there is one for each test process.
"""

import atexit
import inspect
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

HEAVY = (
    *("torch", "torch.export", "torch.onnx", "torch._dynamo", "torch._inductor", "sklearn.metrics", "pandas", "optuna"),
    *("sklearn.model_selection", "matplotlib.figure", "matplotlib.backends.backend_agg", "onnx", "onnxruntime"),
    *("optuna_dashboard._note", "optuna_dashboard._app", "scipy.special", "search.cli.run", "search.job.run"),
    *("search.job.ablate", "search.dashboard.annotate", "search.export.export", "search.report.page.html"),
)
LARGEST = 2**17  # bytes of a request
STATUS = struct.Struct("i")


class Forked(subprocess.Popen[str]):
    """A process of the command: `args` are the command's arguments, `constants` replaces constants of its modules."""

    alive: ClassVar[set["Forked"]] = set()  # those whose end nobody has waited for

    def __init__(self, arguments: list[str], *, constants: dict[str, float] | None = None, **options: Any) -> None:
        self._constants = constants or {}
        super().__init__(arguments, text=True, **options)
        self.alive.add(self)

    def _execute_child(self, *given: Any) -> None:
        values = inspect.signature(subprocess.Popen._execute_child).bind(self, *given).arguments  # type: ignore[attr-defined]
        ends = [values[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")]
        request = {
            "arguments": values["args"],
            "constants": self._constants,
            "folder": str(values["cwd"] or Path.cwd()),
            "environment": values["env"] or dict(os.environ),
            "is_leader": values["start_new_session"],
        }
        self._status, theirs = os.pipe()
        streams = [end if end >= 0 else stream for stream, end in enumerate((ends[0], ends[3], ends[5]))]
        server = _server()
        socket.send_fds(server, [json.dumps(request).encode()], [*streams, theirs])
        os.close(theirs)
        self.pid = STATUS.unpack(server.recv(STATUS.size))[0]
        self._child_created = True
        self._close_pipe_fds(*ends)  # type: ignore[attr-defined]

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if flags & os.WNOHANG and not select.select([self._status], [], [], 0)[0]:
            return 0, 0
        content = os.read(self._status, STATUS.size)
        os.close(self._status)
        self.alive.discard(self)
        return self.pid, STATUS.unpack(content)[0] if content else signal.SIGKILL

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None and (done := self._try_wait(os.WNOHANG))[0]:
            self._handle_exitstatus(done[1])  # type: ignore[attr-defined]
        return self.returncode


@cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, __file__, str(theirs.fileno())]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, start_new_session=True)
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def serve(requests: socket.socket) -> Callable[[], None]:
    """Fork a process for each request and report its end; returns, in the forked process, what it is to run."""
    ends: dict[int, tuple[int, int]] = {}  # descriptor of a process -> its id and the pipe for its status
    while True:
        ready, *_ = select.select([requests.fileno(), *ends], [], [])
        for descriptor in ready:
            if descriptor == requests.fileno():
                data, streams, _, _ = socket.recv_fds(requests, LARGEST, 4)
                if not data:
                    os._exit(0)  # the test process is gone
                pid = os.fork()
                if not pid:
                    requests.close()
                    for other, (_, status) in ends.items():
                        os.close(other)
                        os.close(status)
                    return partial(run, json.loads(data), streams)
                requests.send(STATUS.pack(pid))
                ends[os.pidfd_open(pid)] = pid, streams[3]
                for stream in streams[:3]:
                    os.close(stream)
            else:
                pid, status = ends.pop(descriptor)
                os.write(status, STATUS.pack(os.waitpid(pid, 0)[1]))
                os.close(status)
                os.close(descriptor)


def run(request: dict[str, Any], streams: list[int]) -> None:
    """Run the command as a process of its own would."""
    if request["is_leader"]:
        os.setsid()
    for stream, descriptor in enumerate(streams[:3]):
        os.dup2(descriptor, stream)
    for descriptor in streams:
        os.close(descriptor)
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None
    sys.argv = ["fmnist-search", *request["arguments"]]
    for name, value in request["constants"].items():
        module, _, constant = name.rpartition(".")
        setattr(import_module(module), constant, value)
    from search.cli.main import main

    code = 1
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        # Not the interpreter's own end, which waits for threads of libraries that a fork does not copy.
        os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[0] = str(Path(__file__).parents[2])
    for module in HEAVY:
        with suppress(ModuleNotFoundError):  # of an extra
            import_module(module)
    work = serve(socket.socket(fileno=int(sys.argv[1])))
    work()
