"""What the launch scripts start: commands recorded by stand-ins for python, srun and scontrol on PATH."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from repository import ROOT

TOOLS = ROOT / "tools"
OUR_VARIABLES = ("SLURM", "SRUN", "GPUS", "NNODES", "NODE_RANK", "MASTER", "PORT", "DEVICE", "WORK_DIR", "CPUS", "CUDA")

RECORDER = """#!{python}
import json, os, sys
if "framework.py" in " ".join(sys.argv[1:2]):  # which config it is decides what is called
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
call = dict(program=os.path.basename(sys.argv[0]), args=sys.argv[1:], env=dict(os.environ))
with open({log!r}, "a") as log:
    log.write(json.dumps(call) + "\\n")
{rest}
"""


class Stage:
    """A folder with configs (and a space in its name), and stand-ins that write down how they were called."""

    def __init__(self, folder: Path):
        self.folder, self.bin, self.log = folder, folder / "bin", folder / "calls"
        self.bin.mkdir(parents=True)
        for name in ("a.yaml", "b.py", "c d.pth"):
            (folder / name).write_text("")
        for name in ("python", "srun"):
            self.stand_in(name)
        self.stand_in("scontrol", 'print("node7\\nnode8")')
        (folder / "tools").symlink_to(TOOLS)

    def stand_in(self, name: str, rest: str = "") -> None:
        path = self.bin / name
        path.write_text(RECORDER.format(python=sys.executable, log=str(self.log), rest=rest))
        path.chmod(0o755)

    def start(self, script, *args, **variables) -> subprocess.Popen:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(OUR_VARIABLES)}
        path = f"{self.bin}:{os.environ['PATH']}"
        return subprocess.Popen(
            ["bash", str(script), *map(str, args)], cwd=self.folder, env={**inherited, "PATH": path, **variables},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, script, *args, status=0, **variables) -> str:
        process = self.start(TOOLS / script, *args, **variables)
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == status, stdout + stderr
        return stderr

    def calls(self, program: str | None = None) -> list[dict]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [call for call in map(json.loads, lines) if program in (None, call["program"])]

    def one(self, program: str) -> list[str]:
        (call,) = self.calls(program)
        return call["args"]


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path / "a folder")


AWKWARD = ["two words", "$(false)", "*", 'quo"te', ""]


def test_one_machine_with_detectron2(stage):
    stage.run("dist_train.sh", "a.yaml", 8, "--resume", "KEY", *AWKWARD, WORK_DIR="out put")
    assert stage.one("python") == [
        f"{TOOLS}/train_net.py", "--config-file", "a.yaml", "--num-gpus", "8", "--num-machines", "1",
        "--machine-rank", "0", "--dist-url", "auto", "--resume", "KEY", *AWKWARD, "OUTPUT_DIR", "out put",
    ]  # fmt: skip


def test_one_machine_with_mmseg(stage):
    stage.run("dist_train.sh", "b.py", 8, "--resume", "--cfg-options", *AWKWARD, WORK_DIR="out put")
    assert stage.one("python") == [
        f"{TOOLS}/torchrun.py", "--standalone", "--nproc-per-node", "8", f"{TOOLS}/mmseg_tool.py", "--device", "cuda",
        "train", "b.py", "--launcher", "pytorch", "--work-dir", "out put", "--resume", "--cfg-options", *AWKWARD,
    ]  # fmt: skip


# In place of torch.distributed.run: processes that end one after the other, then what torchrun does.
FAKE_TORCHRUN = """
import sys
from ffc_dense.errors.reporting import recording_exit_code
def main(argv):
    for how in argv[:-1]:
        try:
            with recording_exit_code():
                if how == "error":
                    raise RuntimeError
                if how != "killed":
                    sys.exit(int(how))
        except BaseException:
            pass
    if argv[-1] == "fails":
        raise RuntimeError("torchrun's own")
"""


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        (["143", "143", "fails"], 143),
        (["0", "3", "error", "fails"], 3),
        (["2", "fails"], 2),
        (["error", "143", "fails"], 1),  # the first one is the cause
        (["killed", "fails"], 1),
        (["killed", "0", "passes"], 0),
    ],
)
def test_the_exit_code_of_torchrun_is_that_of_the_process_that_ended_first(tmp_path, monkeypatch, ends, status):
    monkeypatch.setitem(sys.modules, "torch.distributed.run", types.ModuleType("torch.distributed.run"))
    exec(FAKE_TORCHRUN, sys.modules["torch.distributed.run"].__dict__)
    monkeypatch.setenv("FFC_EXIT_CODES", "")
    monkeypatch.delitem(sys.modules, "ffc_dense.reliability.torchrun", raising=False)
    run = importlib.import_module("ffc_dense.reliability.torchrun").run
    monkeypatch.delitem(sys.modules, "ffc_dense.reliability.torchrun")
    found = 0
    try:
        run(ends)
    except SystemExit as error:
        found = error.code
    except RuntimeError:
        found = 1
    assert found == status


NODES = dict(NNODES="4", NODE_RANK="2", MASTER_ADDR="node0", PORT="1234")


def test_one_machine_of_four(stage):
    stage.run("dist_train.sh", "a.yaml", 8, **NODES)
    stage.run("dist_train.sh", "b.py", 8, **NODES)
    detectron2, mmseg = (call["args"] for call in stage.calls("python"))
    assert detectron2[3:] == [
        "--num-gpus", "8", "--num-machines", "4", "--machine-rank", "2", "--dist-url", "tcp://node0:1234",
    ]  # fmt: skip
    assert mmseg[1:11] == [
        "--nnodes", "4", "--node-rank", "2", "--master-addr", "node0", "--master-port", "1234",
        "--nproc-per-node", "8",
    ]  # fmt: skip


def test_evaluation(stage):
    stage.run("dist_test.sh", "a.yaml", "c d.pth", 2, "KEY", *AWKWARD, WORK_DIR="out put")
    stage.run("dist_test.sh", "b.py", "c d.pth", 2, "--cfg-options", *AWKWARD, WORK_DIR="out put")
    detectron2, mmseg = (call["args"] for call in stage.calls("python"))
    assert detectron2[11:] == [
        "--eval-only", "KEY", *AWKWARD, "MODEL.WEIGHTS", "c d.pth", "OUTPUT_DIR", "out put",
    ]  # fmt: skip
    assert mmseg[4:] == [
        f"{TOOLS}/mmseg_tool.py", "--device", "cuda", "test", "b.py", "c d.pth", "--launcher", "pytorch",
        "--work-dir", "out put", "--cfg-options", *AWKWARD,
    ]  # fmt: skip


def test_the_frameworks_own_parsers_read_the_commands(stage):
    engine = pytest.importorskip("detectron2.engine")
    from torch.distributed.run import parse_args

    stage.run("dist_train.sh", "a.yaml", 8, "--resume", "KEY", "two words", **NODES)
    stage.run("dist_train.sh", "b.py", 8, "--resume", **NODES)
    detectron2, mmseg = (call["args"] for call in stage.calls("python"))
    args = engine.default_argument_parser().parse_args(detectron2[1:])
    assert (args.num_gpus, args.num_machines, args.machine_rank, args.resume) == (8, 4, 2, True)
    assert args.dist_url == "tcp://node0:1234" and args.opts == ["KEY", "two words"]
    args = parse_args(mmseg[1:])
    assert (args.nproc_per_node, args.nnodes, args.node_rank, args.master_port) == ("8", "4", 2, 1234)
    assert args.master_addr == "node0" and args.training_script == f"{TOOLS}/mmseg_tool.py"


def test_on_the_cpu_no_gpu_is_seen(stage):
    stage.run("dist_train.sh", "a.yaml", 2, DEVICE="cpu")
    stage.run("dist_train.sh", "b.py", 2, DEVICE="cpu")
    assert [call["env"]["CUDA_VISIBLE_DEVICES"] for call in stage.calls("python")] == ["-1", "-1"]
    detectron2, mmseg = (call["args"] for call in stage.calls("python"))
    assert detectron2[-2:] == ["MODEL.DEVICE", "cpu"] and mmseg[5:7] == ["--device", "cpu"]


@pytest.mark.parametrize(
    ("script", "args", "variables", "message"),
    [
        ("dist_train.sh", [], {}, "CONFIG is missing"),
        ("dist_train.sh", ["absent.py"], {}, "CONFIG: there is no file absent.py"),
        ("dist_train.sh", ["a.yaml"], {}, "GPUS is missing"),
        ("dist_train.sh", ["a.yaml", "--resume"], {}, "GPUS: expected a whole number from 1 on, got '--resume'"),
        ("dist_train.sh", ["a.yaml", "0"], {}, "GPUS: expected"),
        ("dist_train.sh", ["c d.pth", "2"], {}, "CONFIG: expected detectron2's .yaml or .py (LazyConfig), or"),
        ("dist_train.sh", ["a.yaml", "2"], dict(NNODES="2"), "MASTER_ADDR (host name of node 0) is missing"),
        ("dist_train.sh", ["a.yaml", "2"], dict(NNODES="2", NODE_RANK="2", MASTER_ADDR="x"), "NODE_RANK: expected 0"),
        ("dist_train.sh", ["a.yaml", "2"], dict(NNODES="4", NODE_RANK="08", MASTER_ADDR="x"), "NODE_RANK: expected 0"),
        ("dist_train.sh", ["a.yaml", "2"], dict(DEVICE="tpu"), "DEVICE: expected cuda or cpu"),
        ("dist_test.sh", ["b.py"], {}, "CHECKPOINT is missing"),
        ("dist_test.sh", ["b.py", "absent.pth"], {}, "CHECKPOINT: there is no file absent.pth"),
        ("dist_test.sh", ["b.py", "c d.pth"], {}, "GPUS is missing"),
        ("slurm_train.sh", [], {}, "PARTITION is missing"),
        ("slurm_train.sh", ["p"], {}, "JOB_NAME is missing"),
        ("slurm_train.sh", ["p", "job"], {}, "CONFIG is missing"),
        ("slurm_train.sh", ["p", "job", "b.py"], {}, "WORK_DIR is missing"),
        ("slurm_train.sh", ["p", "job", "absent.py", "w"], {}, "CONFIG: there is no file absent.py"),
        ("slurm_train.sh", ["p", "job", "b.py", "w"], dict(GPUS="12", GPUS_PER_NODE="8"), "GPUS: 12 cannot be shared"),
        ("slurm_train.sh", ["p", "job", "b.py", "w"], dict(GPUS="many"), "expected numbers, got 'many'"),
        ("slurm_train.sh", ["p", "job", "b.py", "w"], dict(SRUN_ARGS="'open"), "SRUN_ARGS: cannot be split"),
        ("slurm_node.sh", [], {}, "COMMAND is missing"),
        ("slurm_node.sh", ["true"], {}, "SLURM_JOB_ID is not set"),
        ("train.sbatch", [], {}, "CONFIG is missing"),
        ("train.sbatch", ["b.py"], {}, "WORK_DIR is missing"),
        ("train.sbatch", ["absent.py", "w"], {}, "CONFIG: there is no file absent.py"),
        ("train.sbatch", ["b.py", "w"], {}, "no GPUs in this job"),
        ("train.sbatch", ["b.py", "w"], dict(SLURM_SUBMIT_DIR="/"), "submit from the root of the repository"),
    ],
)
def test_wrong_usage_is_named_and_starts_nothing(stage, script, args, variables, message):
    stderr = stage.run(script, *args, status=2, **variables)
    assert message in stderr and f"tools/{script}" in stderr
    assert stage.calls() == []


@pytest.mark.parametrize("line", ["from detectron2 import model_zoo", "from .base import model", "import detectron2"])
def test_a_lazy_config_runs_with_detectron2(stage, line):
    (stage.folder / "b.py").write_text(f"{line}\n")
    stage.run("dist_train.sh", "b.py", 8, "--resume", "a.b=two words", WORK_DIR="out put", DEVICE="cpu")
    stage.run("dist_test.sh", "b.py", "c d.pth", 8)
    train, test = (call["args"] for call in stage.calls("python"))
    common = ["--config-file", "b.py", "--num-gpus", "8", "--num-machines", "1", "--machine-rank", "0", "--dist-url"]
    assert train == [
        f"{TOOLS}/lazyconfig_train_net.py", *common, "auto", "--resume", "a.b=two words", "train.device=cpu",
        "train.output_dir=out put",
    ]  # fmt: skip
    assert test == [
        f"{TOOLS}/lazyconfig_train_net.py", *common, "auto", "--eval-only", "train.init_checkpoint=c d.pth",
    ]  # fmt: skip


CONFIGS = TOOLS.parent / "configs"


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*/*.py")), ids=lambda path: path.stem)
def test_every_shipped_python_config_runs_with_its_framework(stage, config):
    stage.run("dist_train.sh", config, 1)
    ours = f"{TOOLS}/lazyconfig_train_net.py" if "coco" in config.parent.name else f"{TOOLS}/mmseg_tool.py"
    assert ours in stage.one("python")


def test_slurm_train_asks_for_whole_nodes_and_one_task_on_each(stage):
    stage.run(
        "slurm_train.sh", "gpu part", "my job", "b.py", "out put", "--resume", *AWKWARD, GPUS="32", GPUS_PER_NODE="8",
        CPUS_PER_TASK="6", SRUN_ARGS="--time=1:00:00 --comment='two words'", MASTER_ADDR="stale", NODE_RANK="3",
    )  # fmt: skip
    assert stage.one("srun") == [
        "--partition=gpu part", "--job-name=my job", "--nodes=4", "--ntasks-per-node=1", "--gres=gpu:8",
        "--cpus-per-task=48", "--kill-on-bad-exit=1", "--time=1:00:00", "--comment=two words",
        f"{TOOLS}/slurm_node.sh", f"{TOOLS}/dist_train.sh", "b.py", "8", "--resume", *AWKWARD,
    ]  # fmt: skip
    env = stage.calls("srun")[0]["env"]
    assert env["WORK_DIR"] == "out put" and "MASTER_ADDR" not in env and "NODE_RANK" not in env


def test_slurm_train_defaults_are_those_of_mmseg_and_few_gpus_take_one_node(stage):
    stage.run("slurm_train.sh", "p", "j", "b.py", "w")
    stage.run("slurm_train.sh", "p", "j", "b.py", "w", GPUS="2", GPUS_PER_NODE="8")
    first, second = (call["args"] for call in stage.calls("srun"))
    assert first[2:6] == ["--nodes=1", "--ntasks-per-node=1", "--gres=gpu:4", "--cpus-per-task=20"]
    assert second[2:6] == ["--nodes=1", "--ntasks-per-node=1", "--gres=gpu:2", "--cpus-per-task=10"]


SLURM = dict(SLURM_JOB_ID="123456", SLURM_NNODES="2", SLURM_NODEID="1", SLURM_JOB_NODELIST="node[7-8]")


def test_slurm_node_tells_the_command_where_the_others_are(stage):
    stage.run("slurm_node.sh", "python", *AWKWARD, **SLURM)
    (call,) = stage.calls("python")
    assert call["args"] == AWKWARD
    found = [call["env"][name] for name in ("NNODES", "NODE_RANK", "MASTER_ADDR", "PORT")]
    assert found == ["2", "1", "node7", "23456"]
    assert stage.one("scontrol") == ["show", "hostnames", "node[7-8]"]


JOB = dict(SLURM_JOB_ID="123456", SLURM_GPUS_ON_NODE="8", SLURM_CPUS_PER_TASK="40")


def submitted(stage) -> tuple[Path, dict]:
    """Slurm runs a copy of the batch file from elsewhere."""
    copy = stage.folder / "slurm_script"
    copy.write_text((TOOLS / "train.sbatch").read_text())
    return copy, dict(JOB, SLURM_SUBMIT_DIR=str(stage.folder))


def test_the_batch_file_asks_to_be_requeued_and_warned():
    lines = (TOOLS / "train.sbatch").read_text().splitlines()
    head = [line for line in lines[1 : lines.index("set -euo pipefail")] if line.startswith("#SBATCH ")]
    for option in ("--requeue", "--signal=B:USR1@120", "--open-mode=append", "--ntasks-per-node=1"):
        assert f"#SBATCH {option}" in head


def test_the_batch_file_always_resumes(stage):
    copy, variables = submitted(stage)
    process = stage.start(copy, "b.py", "out put", *AWKWARD, **variables)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert stage.one("srun") == [
        "--kill-on-bad-exit=1", "--cpus-per-task=40", "tools/slurm_node.sh", "tools/dist_train.sh", "b.py", "8",
        "--resume", *AWKWARD,
    ]  # fmt: skip
    assert stage.calls("srun")[0]["env"]["WORK_DIR"] == "out put"
    assert stage.calls("scontrol") == []


# The training: on TERM it "writes a checkpoint" for a while and ends with the status that the test names.
STEP = """
import signal, time
def stop(number, frame):
    time.sleep(0.3)
    open("checkpoint", "w").close()
    sys.exit(int(os.environ["STEP_STATUS"]))
signal.signal(signal.SIGTERM, stop)
open("started", "w").write(str(os.getpid()))
time.sleep(60)
"""
# srun: on TERM it kills the training at once, as Slurm's does.
STEP_OF_SRUN = f"""
import signal, subprocess
task = subprocess.Popen([sys.executable, "-c", "import os, sys" + {STEP!r}])
signal.signal(signal.SIGTERM, lambda *_: task.kill())
sys.exit(task.wait() % 256)
"""
# scancel --signal: to the tasks alone.
SCANCEL = """
import signal
os.kill(int(open("started").read()), getattr(signal, "SIG" + sys.argv[1].removeprefix("--signal=")))
"""


@pytest.mark.parametrize(("step_status", "requeued"), [(143, True), (0, False)])
def test_usr1_stops_the_step_and_requeues_unless_it_had_finished(stage, step_status, requeued):
    stage.stand_in("srun", STEP_OF_SRUN)
    stage.stand_in("scancel", SCANCEL)
    copy, variables = submitted(stage)
    process = stage.start(copy, "b.py", "w", STEP_STATUS=str(step_status), **variables)
    deadline = time.monotonic() + 30
    started = stage.folder / "started"
    while not (started.exists() and started.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == step_status, stdout + stderr
    assert (stage.folder / "checkpoint").exists()  # it was waited for
    assert stage.one("scancel") == ["--signal=TERM", "123456"]
    assert [call["args"] for call in stage.calls("scontrol")] == ([["requeue", "123456"]] if requeued else [])


def test_a_training_that_slurm_ended_with_a_checkpoint_is_requeued(stage):
    """Before preemption Slurm sends TERM to the training alone."""
    stage.stand_in("srun", "sys.exit(143)")
    copy, variables = submitted(stage)
    process = stage.start(copy, "b.py", "w", **variables)
    process.communicate(timeout=30)
    assert process.returncode == 143 and stage.one("scontrol") == ["requeue", "123456"]


def test_a_training_that_failed_by_itself_is_not_requeued(stage):
    stage.stand_in("srun", "sys.exit(3)")
    copy, variables = submitted(stage)
    process = stage.start(copy, "b.py", "w", **variables)
    process.communicate(timeout=30)
    assert process.returncode == 3 and stage.calls("scontrol") == []
