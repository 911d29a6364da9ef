#!/usr/bin/env python3
"""A real SLURM cluster on this machine: munge, slurmctld and one slurmd a node, in one folder, on loopback.

    cluster.py install                   the Debian packages, where they are missing (as root)
    cluster.py start FOLDER              two nodes, n1 and n2, each with four CPUs and two GPUs that are none
    cluster.py stop FOLDER               ends every daemon and what is left of the jobs, each by its own process id
    cluster.py kill FOLDER DAEMON        kill -9 of slurmctld, n1 or n2
    cluster.py crash FOLDER NODE         kill -9 of a node's slurmd and of all that runs there: a dead machine
    cluster.py launch FOLDER DAEMON      starts it again

There is no accounting. FOLDER must have a short path, for sockets lie in it. `export SLURM_CONF=FOLDER/slurm.conf`
makes SLURM's commands talk to it. Exit code 77: this machine cannot have one; the reason is printed.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
NODES = ("n1", "n2")
GPUS = ("/dev/null", "/dev/zero")  # a GPU is a character device to slurmd, whatever it does
CANNOT = 77

CONFIGURATION = """\
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# cred_expire: how long a job waits before it starts again after a requeue; 5 s is the least
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.own
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/%n.own
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/%n
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmctldParameters=preempt_send_user_signal
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
GresTypes=gpu
# sooner than a site would: seconds matter to a test
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,nohold_on_prolog_fail
SlurmctldTimeout=20
SlurmdTimeout=10
TCPTimeout=2
MessageTimeout=10
KillWait=5
MinJobAge=600
MaxArraySize=40
FirstJobId={first}
ReturnToService=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
DefMemPerCPU=500
NodeName={nodes} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports} CPUs=4 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes={nodes} Default=YES DefaultTime=5 MaxTime=60 PriorityTier=1 GraceTime=10 State=UP
PartitionName=urgent Nodes={nodes} DefaultTime=5 MaxTime=60 PriorityTier=10 PreemptMode=OFF State=UP
"""


class CannotError(Exception):
    """This machine cannot have a cluster; one sentence."""


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]


def install() -> None:
    """Install the packages, without starting the services that they bring.

    Raises:
        CannotError: not root, not Debian, or the packages cannot be had.
    """
    if os.geteuid() != 0:
        raise CannotError("a SLURM cluster of one's own needs root")
    if not missing():
        return
    if not shutil.which("apt-get"):
        raise CannotError(f"{', '.join(missing())} not installed, and there is no apt-get to install them")
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
            done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise CannotError(f"apt-get {command[0]} failed: {' '.join(done.stderr.split())[-300:]}")
    finally:
        if ours:
            policy.unlink()


class Cluster:
    """The cluster in a folder; every method is one of the commands above."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.environment = os.environ | {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        }

    def start(self) -> None:
        """Write the configuration and start everything."""
        install()
        for name in ("state", *NODES):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        port = _free_ports(1 + len(NODES))
        content = CONFIGURATION.format(
            folder=self.folder,
            host=socket.gethostname().partition(".")[0],
            nodes="n[1-2]",
            port=port,
            ports=f"[{port + 1}-{port + len(NODES)}]",
            # so that no earlier cluster's job ids are given out again
            first=int(time.time()) % 1_000_000 * 10 + 1,
        )
        (self.folder / "slurm.conf").write_text(content)
        gpus = "".join(f"NodeName=n[1-2] Name=gpu File={device}\n" for device in GPUS)
        (self.folder / "gres.conf").write_text(gpus)
        (self.folder / "cgroup.conf").touch()  # there need be no control groups
        try:
            for name in ("munged", "slurmctld", *NODES):
                self.launch(name)
            self._wait("the nodes", self._idle)
        except BaseException:
            self.stop()
            raise

    def _idle(self) -> bool:
        return self._ask("sinfo", "-h", "-N", "-p", "main", "-o", "%t").split() == ["idle"] * len(NODES)

    def launch(self, name: str) -> None:
        """Start a daemon, in the foreground of a session of its own, and wait until it answers."""
        munge = [f"--key-file={self.folder}/munge.key", f"--socket={self.folder}/munge.socket"]
        munge += [f"--pid-file={self.folder}/munged.own", f"--seed-file={self.folder}/seed"]
        command = {
            "munged": ["munged", "-F", *munge, f"--log-file={self.folder}/munged.log", "--num-threads=2"],
            "slurmctld": ["slurmctld", "-D"],
        }.get(name, ["slurmd", "-D", "-N", name])
        with (self.folder / f"{name}.out").open("ab") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.environment, start_new_session=True
            )
        (self.folder / f"{name}.pid").write_text(str(process.pid))
        if name == "munged":
            self._wait(name, (self.folder / "munge.socket").is_socket)
        elif name == "slurmctld":
            self._wait(name, lambda: "is UP" in self._ask("scontrol", "ping"))

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a daemon a signal and wait until it is gone; SIGKILL if that takes more than 10 s."""
        file = self.folder / f"{name}.pid"
        if not file.exists():
            return
        pid, program = int(file.read_text()), name if name in ("munged", "slurmctld") else "slurmd"
        for each in (number, signal.SIGKILL):
            deadline = time.monotonic() + 10
            if _runs(pid, program):
                os.kill(pid, each)
            while _runs(pid, program) and time.monotonic() < deadline:
                time.sleep(0.05)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # where it was started by this very process
        file.unlink()

    def crash(self, node: str) -> None:
        """End a node's slurmd and everything that runs there."""
        self.kill(node)
        self._end_jobs(node)

    def stop(self) -> None:
        """End everything that this cluster started."""
        if _runs(int(_read(self.folder / "slurmctld.pid") or 0), "slurmctld"):
            self._ask("scancel", "--user=root")
            with contextlib.suppress(TimeoutError):
                self._wait("the jobs' end", lambda: not self._ask("squeue", "-h").strip(), seconds=8)
        for name in ("slurmctld", *NODES):
            self.kill(name, signal.SIGTERM)
        self._end_jobs()
        self.kill("munged", signal.SIGTERM)

    def _end_jobs(self, node: str | None = None) -> None:
        """Kill the job processes of a node, or of all; they are known by their environment."""
        for pid in list(self._jobs(node)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _jobs(self, node: str | None) -> Iterator[int]:
        for folder in Path("/proc").glob("[0-9]*"):
            words = _read(folder / "environ").split("\0")
            if f"SLURM_CONF={self.folder}/slurm.conf" not in words or int(folder.name) == os.getpid():
                continue
            nodes = [word.partition("=")[2] for word in words if word.startswith("SLURMD_NODENAME=")]
            if nodes and node in (None, nodes[0]):
                yield int(folder.name)
                parent = int(_read(folder / "stat").rpartition(")")[2].split()[1])
                if _runs(parent, "slurmstepd"):
                    yield parent

    def _ask(self, *command: str) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return subprocess.run(
                command, env=self.environment, capture_output=True, text=True, timeout=15, check=False
            ).stdout
        return ""

    def _wait(self, what: str, condition: Callable[[], bool], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come within {seconds} s; logs lie in {self.folder}")
            time.sleep(0.05)


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _runs(pid: int, program: str) -> bool:
    """Tell whether the process lives and is that program."""
    name, _, rest = _read(Path(f"/proc/{pid}/stat")).partition("(")[2].rpartition(")")
    return name == program and rest.split()[0] != "Z"


def _free_ports(number: int) -> int:
    """Return the first of so many neighbouring ports on which nobody listens, below the range that is given away."""
    for _ in range(50):
        first = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + number):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise CannotError("no free ports")


def main() -> int:
    """Carry out one command."""
    words = sys.argv[1:]
    try:
        match words:
            case ["install"]:
                install()
            case ["start" | "stop" as command, folder]:
                getattr(Cluster(Path(folder)), command)()
            case ["kill" | "crash" | "launch" as command, folder, name]:
                getattr(Cluster(Path(folder)), command)(name)
            case _:
                print(__doc__)
                return 2
    except CannotError as error:
        print(error)
        return CANNOT
    return 0


if __name__ == "__main__":
    sys.exit(main())
