"""Triton kernels against the torch paths: run in the interpreter, compiled for an H200, given up where they fail."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from speech_trainer.modules.alignment import alignment_path, path_in_torch
from speech_trainer.modules.kernels import Kernel
from speech_trainer.modules.quantizer import closest, closest_in_torch

triton = pytest.importorskip("triton", reason="comes with torch on Linux alone")

WORKER = Path(__file__).with_name("kernels_worker.py")
ALIGNMENT, LOOKUP = (f"speech_trainer.modules.{name}_kernel" for name in ("alignment", "lookup"))
CHANCE = torch.Generator().manual_seed(3)
RAGGED = ((37, 20), (30, 19), (8, 12), (1, 1))  # frames, tokens; the third has too few frames


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=CHANCE)


def tied(*shape: int) -> Tensor:
    """Few values, all sums exact: ties everywhere."""
    return torch.randint(-1, 2, shape, generator=CHANCE).float()


def mask_of(sizes: tuple[tuple[int, int], ...]) -> Tensor:
    frames, tokens = (max(column) for column in zip(*sizes, strict=True))
    mask = torch.zeros(len(sizes), frames, tokens, dtype=torch.bool)
    for row, (f, t) in zip(mask, sizes, strict=True):
        row[:f, :t] = True
    return mask


def with_nan(scores: Tensor) -> Tensor:
    scores[0, 11, 4] = float("nan")
    return scores


SEARCHES: dict[str, tuple[Tensor, Tensor]] = {
    "normal, ragged": (normal(4, 37, 20), mask_of(RAGGED)),
    "ties, ragged": (tied(4, 37, 20), mask_of(RAGGED)),
    "all the same": (torch.zeros(1, 12, 5), mask_of(((12, 5),))),
    "more frames than are counted at once": (normal(1, 150, 3), mask_of(((150, 3),))),
    "very unlikely": (normal(2, 9, 4) - 1e9, mask_of(((9, 4), (5, 2)))),
    "NaN": (with_nan(normal(1, 37, 20)), mask_of(((37, 20),))),
    "transposed in memory": (normal(2, 6, 17).transpose(1, 2), mask_of(((17, 6), (9, 6)))),
}
LOOKUPS: dict[str, tuple[Tensor, Tensor, bool]] = {
    "angle, as DAC": (normal(50, 8), normal(1024, 8), True),
    "angle, ties": (tied(33, 8), tied(200, 8), True),
    "distance": (normal(50, 8), normal(300, 8), False),
    "distance, wide": (normal(20, 130), normal(129, 130), False),
    "distance, ties": (tied(33, 16), tied(256, 16).repeat(2, 1), False),
    "one code": (normal(5, 8), normal(1, 8), True),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """What the kernels say in Triton's interpreter."""
    folder = tmp_path_factory.mktemp("kernels")
    cases: list[tuple[str, Any]] = [(ALIGNMENT, case) for case in SEARCHES.values()]
    cases += [(LOOKUP, case) for case in LOOKUPS.values()]
    torch.save(cases, folder / "in")
    subprocess.run(
        [sys.executable, str(WORKER), str(folder / "in"), str(folder / "out")],
        check=True, env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    found = torch.load(folder / "out", weights_only=True)
    return dict(zip([*SEARCHES, *LOOKUPS], found, strict=True))


@pytest.mark.parametrize("name", SEARCHES)
def test_the_search_finds_the_same_path(name: str, answers: dict[str, Tensor]) -> None:
    assert torch.equal(answers[name], path_in_torch(*SEARCHES[name]))


@pytest.mark.parametrize("name", LOOKUPS)
def test_the_lookup_chooses_the_same_code(name: str, answers: dict[str, Tensor]) -> None:
    vectors, codes, by_angle = LOOKUPS[name]
    assert torch.equal(answers[name], closest_in_torch(vectors, codes, by_angle=by_angle))


def test_ties_of_the_lookup_are_real() -> None:
    """The case would prove nothing if the second half of the codes were ever chosen alone."""
    vectors, codes, _ = LOOKUPS["distance, ties"]
    assert int(closest_in_torch(vectors, codes, by_angle=False).max()) < len(codes) // 2


def compiled(kernel: Any, pointers: dict[str, str], constants: dict[str, Any]) -> str:
    """PTX for compute capability 9.0, assembled too, on a machine without a GPU."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {name: pointers.get(name, "i32") for name in kernel.arg_names}
    source = ASTSource(kernel, types | dict.fromkeys(constants, "constexpr"), constants)
    found = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
    assert found.asm["cubin"]
    return str(found.asm["ptx"])


def test_both_compile_for_an_h200(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from speech_trainer.modules import alignment_kernel, lookup_kernel

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    search = compiled(
        alignment_kernel.search,
        {"scores": "*fp32", "mask": "*u8", "moves": "*i8", "path": "*fp32"},
        {"NEVER": -1e9, "BLOCK": 256, "CHUNK": 128, "STAGES": 4},
    )
    assert "cp.async" in search  # rows of scores are fetched ahead
    lookup = compiled(
        lookup_kernel.nearest,
        {"vectors": "*fp32", "codes": "*fp32", "middle": "*fp32", "chosen": "*i64"},
        {"BY_ANGLE": True, "ROWS": 16, "CODES": 128, "WIDTH": 16},
    )
    assert "fma.rn.f32" in lookup
    assert "tf32" not in lookup


def test_a_kernel_that_fails_is_given_up_with_one_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = ModuleType("broken_kernel")
    broken.launch = lambda tensor: 1 / 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "broken_kernel", broken)
    kernel = Kernel("broken_kernel")
    with caplog.at_level(logging.WARNING):
        assert kernel(torch.zeros(1)) is None
    assert "ZeroDivisionError" in caplog.text
    assert "torch path" in caplog.text
    assert kernel.given_up
    assert not kernel.takes()


def test_a_kernel_that_answers_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = ModuleType("sound_kernel")
    sound.launch = lambda tensor, more: tensor + more  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sound_kernel", sound)
    kernel = Kernel("sound_kernel")
    assert kernel(torch.zeros(1), 2) == torch.full((1,), 2.0)
    assert kernel.takes()


@pytest.mark.parametrize("tensor", [torch.zeros(3), torch.zeros(3, device="meta")])
def test_only_tensors_on_cuda_are_taken(tensor: Tensor) -> None:
    assert not Kernel("never_imported").takes(tensor)


@pytest.mark.gpu
@pytest.mark.parametrize("name", [*SEARCHES, *LOOKUPS])
def test_on_a_gpu_too(name: str) -> None:
    if name in SEARCHES:
        scores, mask = SEARCHES[name]
        found, wanted = alignment_path(scores.cuda(), mask.cuda()), path_in_torch(scores, mask)
    else:
        vectors, codes, by_angle = LOOKUPS[name]
        found = closest(vectors.cuda(), codes.cuda(), by_angle=by_angle)
        wanted = closest_in_torch(vectors, codes, by_angle=by_angle)
    assert torch.equal(found.cpu(), wanted)
