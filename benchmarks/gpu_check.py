"""One GPU, looked at in eight minutes: real presets in fp32 and bf16, the gate and the preflight on CUDA.

    make gpu-check                                  on a machine with a GPU and this project installed
    sh benchmarks/gpu_check.sh                      on one that has torch alone, after `make gpu-carry` elsewhere
    python benchmarks/gpu_check.py --device CPU     the Debug presets, to try the script itself

Prints a table and writes results/gpu.json. Step times are the device's own (gpu_probe.py); the first steps warm up
and are left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_probe
import record
import torch
from record import Row

from speech_contract import env, names
from speech_operator.cluster.local_state import JobFolder
from speech_trainer.data.synthesize import SynthesisPlan, synthesize
from speech_trainer.modules import alignment, quantizer

HERE = Path(__file__).resolve().parent
RUN = "import sys; from speech_cli.main import cli; cli.main(['run', sys.argv[1], '--plain'])"
WARM = 20
SEARCH = {"CUDA": (64, 800, 200), "CPU": (4, 200, 50)}  # batch, frames, tokens
# Vectors of Speech24k's batch, codes, dimensions.
LOOKUP = {"CUDA": (2160, 1024, 8), "CPU": (240, 256, 8)}
FASTER = 20  # times: what the kernel of the search is for
PRESETS = {
    "CUDA": {"vits": "Base", "codec": "Speech24k"},
    "CPU": {"vits": "Debug", "codec": "Debug"},
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One run."""

    recipe: str
    preset: str
    precision: str

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.recipe} {self.preset}, {self.precision}"


def manifest(case: Case, place: Path, data: Path, steps: int, device: str) -> dict[str, Any]:
    """As people write it."""
    training = {
        "maxSteps": steps, "device": device, "seed": 7, "precision": case.precision,
        "logEverySteps": 10,
    }  # fmt: skip
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": place.name},
        "spec": {
            "recipe": {case.recipe: {"preset": case.preset}},
            "data": {"train": {"manifest": str(data / "train.jsonl")}},
            "training": training,
            "checkpoint": {"uri": str(place / "run"), "everySteps": steps},
        },
    }


def run(document: dict[str, Any], place: Path, wrap: str) -> tuple[int, str]:
    """Exit code and what was printed."""
    place.mkdir(parents=True, exist_ok=True)
    path = place / "job.json"
    told = {env.WRAP_RECIPE: wrap, gpu_probe.FILE: str(place / "probe.json")}
    document["spec"]["trainer"] = {"env": [{"name": k, "value": v} for k, v in told.items()]}
    path.write_text(json.dumps(document), encoding="utf-8")
    paths = [str(HERE), str(HERE.parent / "tests" / "zoo"), os.environ.get("PYTHONPATH", "")]
    environ = {
        **os.environ,
        env.LOCAL_STATE: str(place / "state"),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(path)],
        env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def measure(case: Case, place: Path, data: Path, steps: int, device: str) -> dict[str, Any]:
    """The figures of one run; `error` alone where it did not end well."""
    began = time.monotonic()
    code, said = run(manifest(case, place, data, steps, device), place, "gpu_probe:timed")
    probe = place / "probe.json"
    if code or not probe.exists():
        return {"error": f"exit code {code}: {said[-2000:]}"}
    return figures(json.loads(probe.read_text("utf-8"))) | {"wall": time.monotonic() - began}


def figures(probe: dict[str, Any]) -> dict[str, Any]:
    """Seconds a step (median), the recipe's share of it, audio a second, peak memory."""
    begins, ends = probe["marks"][0::2], probe["marks"][1::2]
    warm = min(WARM, len(begins) // 2)
    steps = [late - early for early, late in zip(begins[warm:], begins[warm + 1 :], strict=False)]
    inside = [end - begin for begin, end in zip(begins[warm:-1], ends[warm:-1], strict=True)]
    audio = sum(probe["audioSeconds"][warm:-1])
    return {
        "steps": len(steps),
        "step": statistics.median(steps),
        "outside": 1.0 - sum(inside) / sum(steps),
        "audioPerSecond": audio / sum(steps),
        "peakGiB": None if probe["peakBytes"] is None else probe["peakBytes"] / 2**30,
        "device": probe["device"],
    }


def search(device: str) -> Row:
    """The alignment search: torch against the kernel."""
    batch, frames, tokens = SEARCH[device]
    scores = torch.randn(batch, frames, tokens, device=device.lower())
    mask = torch.ones(batch, frames, tokens, dtype=torch.bool, device=device.lower())
    for row in range(1, batch):  # ragged, as batches are
        mask[row, frames - 3 * row :] = False
        mask[row, :, tokens - row // 2 :] = False
    return beside(
        f"alignment search {SEARCH[device]}", device == "CUDA", FASTER,
        lambda: alignment.path_in_torch(scores, mask), lambda: alignment.alignment_path(scores, mask),
    )  # fmt: skip


def lookup(device: str, by_angle: bool) -> Row:
    """The nearest code: torch against the kernel. Codes of integers, so that no rounding decides."""
    count, codes, width = LOOKUP[device]
    chance = torch.Generator().manual_seed(0)
    vectors, book = (
        torch.randint(-9, 10, (n, width), generator=chance).float().to(device.lower())
        for n in (count, codes)
    )
    return beside(
        f"nearest code {LOOKUP[device]} by {'angle' if by_angle else 'distance'}", device == "CUDA", None,
        lambda: quantizer.closest_in_torch(vectors, book, by_angle=by_angle),
        lambda: quantizer.closest(vectors, book, by_angle=by_angle),
    )  # fmt: skip


def beside(
    name: str,
    cuda: bool,
    bound: int | None,
    truth: Callable[[], torch.Tensor],
    ours: Callable[[], torch.Tensor],
) -> Row:
    """Both timed, and whether they say the same; on a CPU both are the torch path."""
    same = float((truth() == ours()).float().mean())
    slow, fast = timed(truth, cuda, 3), timed(ours, cuda, 20)
    ran = "kernel" if cuda and not given_up() else "torch"
    said = f"torch {slow * 1e3:.3f} ms, {ran} {fast * 1e3:.3f} ms: {slow / fast:.1f} ×, {same:.4%} the same"
    if not cuda:
        return Row(name, said, "all the same", same == 1.0)
    wanted = "all the same, by the kernel" + ("" if bound is None else f", ≥ {bound} ×")
    return Row(name, said, wanted, same == 1.0 and ran == "kernel" and slow / fast >= (bound or 0))


def given_up() -> bool:
    """Whether a kernel failed on this machine, and torch answers for it."""
    return alignment.KERNEL.given_up or quantizer.KERNEL.given_up


def timed(run: Callable[[], torch.Tensor], cuda: bool, times: int) -> float:
    """Seconds of one run, after one that compiles."""
    run()
    watch = gpu_probe.Stopwatch(cuda)
    watch.mark()
    for _ in range(times):
        run()
    watch.mark()
    return watch.seconds()[-1] / times


def gate(place: Path, data: Path, device: str) -> dict[str, Any]:
    """Five steps of NaN batches behind a whole preflight: passed, rolled back, ended well."""
    document = manifest(Case("vits", "Debug", "FP32"), place, data, 45, device)
    document["spec"]["checkpoint"]["everySteps"] = 10
    document["spec"]["training"] |= {"globalBatchSize": 4, "logEverySteps": 1}
    document["spec"]["health"] = {"nonFinite": {"confirmSteps": 5}}
    code, said = run(document, place, "vits_faults:nan_window")
    status = (JobFolder(place / "state", "default", place.name).read_job() or {}).get("status", {})
    found = [f["rule"] for f in status.get("health", {}).get("findings", [])]
    return {
        "exitCode": code,
        "preflight": status.get("preflight", {}).get("verdict"),
        "rollbacks": status.get("progress", {}).get("rollbacks"),
        "findings": found,
        "said": said[-1500:] if code else "",
    }


def row(case: Case, found: dict[str, Any]) -> Row:
    """A line of the table."""
    if "error" in found:
        return Row(case.name, found["error"][:100], "runs", False)
    memory = "" if found["peakGiB"] is None else f", {found['peakGiB']:.1f} GiB"
    text = (
        f"{found['step'] * 1000:.0f} ms a step, {found['audioPerSecond']:.0f} s of audio a second"
    )
    return Row(
        case.name, f"{text}{memory}, {found['outside']:.0%} outside the recipe's step", "runs", True
    )


def gate_row(passed: dict[str, Any]) -> Row:
    """The same of the run with NaN batches."""
    said = (
        f"exit {passed['exitCode']}, preflight {passed['preflight']}, {passed['rollbacks']} "
        f"roll-back(s), {', '.join(passed['findings']) or 'no finding'}"
    )
    fine = passed["exitCode"] == 0 and passed["findings"] == ["NonFinite"]
    return Row("NaN batches behind the preflight", said, "rolled back, Complete", fine)


def main() -> int:
    """Run every case, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", choices=["CUDA", "CPU"], default="CUDA")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--data", type=Path, help="a folder of `speechtrain data synthesize`")
    asked = parser.parse_args()
    if asked.device == "CUDA" and not torch.cuda.is_available():
        sys.exit("torch sees no GPU; `--device CPU` tries the script itself")
    before = record.machine() | {"torch": torch.__version__, "cuda": torch.version.cuda}
    with tempfile.TemporaryDirectory() as name:
        rows, found = check(asked, Path(name))
    record.show(rows)
    return (
        0
        if record.write("gpu" if asked.device == "CUDA" else "gpu-dry", before, found, rows)
        else 1
    )


def check(asked: argparse.Namespace, place: Path) -> tuple[list[Row], dict[str, Any]]:
    """All of it, each case told as it comes."""
    data = asked.data or place / "speech"
    if asked.data is None:
        synthesize(SynthesisPlan(languages=("te",), utterances=96, validation=4), data)
    rows: list[Row] = []
    found: dict[str, Any] = {}

    def tell(line: Row, figures: Any) -> None:
        rows.append(line)
        found[line.name] = figures
        record.show([line])

    passed = gate(place / "gate", data, asked.device)
    tell(gate_row(passed), passed)
    for line in (search(asked.device), *(lookup(asked.device, angle) for angle in (True, False))):
        tell(line, line.value)
    for recipe, preset in PRESETS[asked.device].items():
        for precision in ("FP32", "BF16"):
            case = Case(recipe, preset, precision)
            one = measure(
                case, place / f"{recipe}-{precision.lower()}", data, asked.steps, asked.device
            )
            tell(row(case, one), one)
    return rows, found


if __name__ == "__main__":
    sys.exit(main())
