# ruff: noqa: E501 - lines as they are printed
"""Forms of trainers that the reader was not made with, each with a sound run and with faults. Used by test_unseen.py.

A form says how a report is printed; `source` where that can be looked up (repository:path), numbers are drawn here.
Labels stood before anything was judged.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable
from typing import Final

NAN: Final = float("nan")
SOUND, BAD = 20, 22  # reports before a fault, and from it on


@dataclasses.dataclass(frozen=True)
class Report:
    """What one report is to say. `n` from 1 on, `e` its epoch of ten reports, from 1 on."""

    n: int
    loss: float
    norm: float = 1.0
    rate: float = 1e-4

    @property
    def e(self) -> int:
        return (self.n + 9) // 10

    @property
    def other(self) -> float:
        """Of another part, which stays sound."""
        return 2.0 + 0.3 * math.sin(self.n * 1.7) + 1.0 / self.n


Line = Callable[[Report], str]


@dataclasses.dataclass(frozen=True)
class Form:
    """One printer. `faults`: those of FAULTS that its lines can show; `suffix` of the file, `head` above its lines."""

    name: str
    source: str
    line: Line
    faults: tuple[str, ...] = ("nan",)
    suffix: str = "log"
    head: str = ""


def sound(number: int = 50, seed: int = 1) -> list[Report]:
    """A loss that falls with noise, a norm that wanders, a rate that warms up and decays."""
    chance = random.Random(seed)
    return [
        Report(
            n,
            1.2 + 3.0 / (1 + n / 30) + chance.gauss(0, 0.06),
            1.0 + 0.4 * chance.random() + 2.0 / n,
            1e-4 * min(1.0, n / 10) * (1.0 - n / (2.0 * number)),
        )
        for n in range(1, number + 1)
    ]


def _nan() -> list[Report]:
    return [
        dataclasses.replace(r, loss=NAN, norm=NAN) if r.n > SOUND else r for r in sound(SOUND + BAD)
    ]


def _part() -> list[Report]:
    """The loss alone: the norm stays as it is."""
    return [dataclasses.replace(r, loss=NAN) if r.n > SOUND else r for r in sound(SOUND + BAD)]


def _zero() -> list[Report]:
    return [dataclasses.replace(r, loss=0.0, norm=0.0) for r in sound(30)]


def _diverged() -> list[Report]:
    return [
        dataclasses.replace(r, loss=r.loss * 40, norm=r.norm * 300) if r.n > SOUND else r
        for r in sound(SOUND + 30)
    ]


def _blind() -> list[Report]:
    """The level of a guess among 1024."""
    return [
        dataclasses.replace(r, loss=math.log(1024) + 0.002 * math.sin(r.n * 2.1))
        for r in sound(120)
    ]


def _frozen() -> list[Report]:
    """No rate from the start, and a loss that goes nowhere."""
    chance = random.Random(3)
    return [dataclasses.replace(r, loss=3.1 + chance.gauss(0, 0.05), rate=0.0) for r in sound(60)]


def _dead() -> list[Report]:
    chance = random.Random(3)
    return [dataclasses.replace(r, loss=3.1 + chance.gauss(0, 0.05), norm=0.0) for r in sound(30)]


FAULTS: Final[dict[str, tuple[Callable[[], list[Report]], tuple[str, ...]]]] = {
    "nan": (_nan, ("NonFinite",)),
    "part": (_part, ("NonFinite",)),
    "zero": (_zero, ("ZeroLoss", "NoGradient")),
    "diverged": (_diverged, ("LossSpike",)),
    "blind": (_blind, ("Plateau",)),
    "frozen": (_frozen, ("NotUpdating",)),
    "dead": (_dead, ("NoGradient",)),
}


def pad(value: float) -> str:
    """As Lightning's `format_num` does."""
    text = f"{value:.3g}"
    return text if "." in text or len(text) >= 5 else (text + ".").ljust(5, "0")


def bar(r: Report, postfix: str, title: str = "Epoch", per: int = 10) -> str:
    """A tqdm bar that starts over each `per` reports, drawn with carriage returns."""
    n = (r.n - 1) % per + 1
    head = f"{title} {r.e - 1}" if title == "Epoch" else title
    end = "\n" if n == per else ""
    return f"\r{head}: {100 * n // per:3d}%|{'█' * n}{' ' * (per - n)}| {n}/{per} [00:{n:02d}<00:{per - n:02d},  1.02it/s, {postfix}]{end}"


def clock(r: Report) -> str:
    return f"2024-05-07 13:{r.n // 60 % 60:02d}:{r.n % 60:02d}"


def each(r: Report, every: int, text: str) -> str:
    return f"\n{text}" if r.n % every == 0 else ""


CHAINER: Final = (
    "epoch",
    "iteration",
    "main/loss",
    "main/loss_ctc",
    "main/loss_att",
    "validation/main/loss",
    "validation/main/loss_ctc",
    "validation/main/loss_att",
    "main/acc",
    "validation/main/acc",
    "elapsed_time",
    "eps",
)


def chainer(*cells: float | None) -> str:
    """A row of Chainer's PrintReport."""
    widths = [max(10, len(name)) for name in CHAINER]
    return "".join(
        f"{'' if cell is None else format(cell, 'g'):<{width}}  "
        for cell, width in zip(cells, widths, strict=True)
    )


FORMS: Final[tuple[Form, ...]] = (
    # ---- speech synthesis ----
    Form("gpt-sovits s2", "RVC-Boss/GPT-SoVITS:GPT_SoVITS/s2_train.py", lambda r: f"INFO:demo:Train Epoch: {r.e} [{r.n % 10 * 10:.0f}%]\nINFO:demo:[{r.other}, {r.loss}, {r.other * 3}, {20 + r.other}, 0.0, {r.other / 2}, {r.n * 100}, {r.rate}]"),
    Form("gpt-sovits s1", "RVC-Boss/GPT-SoVITS:GPT_SoVITS/AR/models/t2s_lightning_module.py", lambda r: bar(r, f"v_num=0, total_loss_step={r.loss * 900:.3g}, lr_step={r.rate:.3g}, top_3_acc_step=0.512, total_loss_epoch=2.1e+3, lr_epoch=0.002"), ("nan", "diverged")),
    Form("bert-vits2", "fishaudio/Bert-VITS2:train_ms.py", lambda r: f"  {r.n}%|█| {r.n}/999 [00:{r.n % 60:02d}<10:00,  1.02it/s]05-07 13:05:21 INFO     | train_ms.py:600 | [{r.loss}, {r.other}, {r.other * 2}, {r.other * 9}, {r.other / 2}, {r.other / 3}, {r.n * 200}, {r.rate}]"),
    Form("melotts", "myshell-ai/MeloTTS:melo/train.py", lambda r: f"{clock(r)} | INFO | [{r.other}, {r.loss}, {r.other * 2}, {r.other * 9}, {r.other / 2}, {r.other / 3}, {r.n * 200}, {r.rate}]"),
    Form("so-vits-svc 4", "svc-develop-team/so-vits-svc:train.py", lambda r: f"INFO:44k:Train Epoch: {r.e} [{r.n % 10 * 10:.0f}%]\nINFO:44k:Losses: [{r.other}, {r.loss}, {r.other * 2}, {r.other * 9}, {r.other / 2}], step: {r.n * 200}, lr: {r.rate}, reference_loss: {r.other * 20}"),
    Form("rvc", "RVC-Project/Retrieval-based-Voice-Conversion-WebUI:infer/modules/train/train.py", lambda r: f"INFO:mi-test:Train Epoch: {r.e} [{r.n % 10 * 10:.0f}%]\nINFO:mi-test:[{r.n * 200}, {r.rate}]\nINFO:mi-test:loss_disc={r.other:.3f}, loss_gen={r.loss:.3f}, loss_fm=9.140,loss_mel=17.501, loss_kl=1.251"),
    Form("so-vits-svc-fork", "voicepaw/so-vits-svc-fork:src/so_vits_svc_fork/train.py", lambda r: f"[{clock(r)}] Epoch {r.e}: {bar(r, f'v_num=0, loss/g/total={pad(r.loss * 9)}, loss/d/total={pad(r.other)}, loss/g/mel=21.10').lstrip()}"),
    Form("styletts2 stage 1", "yl4579/StyleTTS2:train_first.py", lambda r: f"INFO:__main__:Epoch [{r.e}/200], Step [{r.n * 10}/9000], Mel Loss: {r.loss:.5f}, Gen Loss: 0.00000, Disc Loss: 0.00000, Mono Loss: 0.00000, S2S Loss: 0.00000, SLM Loss: 0.00000"),
    Form("styletts2 stage 2", "yl4579/StyleTTS2:train_second.py", lambda r: f"Epoch [{r.e}/100], Step [{r.n * 10}/9000], Loss: {r.other:.5f}, Disc Loss: {r.loss:.5f}, Dur Loss: {r.other / 5:.5f}, CE Loss: {r.other / 70:.5f}, Norm Loss: {r.other / 2:.5f}, F0 Loss: {r.other:.5f}, LM Loss: {r.other / 3:.5f}, Gen Loss: {r.other * 3:.5f}, Sty Loss: 0.0, Diff Loss: 0.0, DiscLM Loss: 0.0, GenLM Loss: 0.0"),
    Form("matcha", "shivammehta25/Matcha-TTS:matcha/models/baselightningmodule.py", lambda r: bar(r, f"v_num=a1b2, loss/train_step={pad(r.loss)}, sub_loss/train_dur_loss_step=0.512, loss/val_step=2.910, loss/val_epoch=2.950, loss/train_epoch=2.310"), ("nan", "diverged", "zero")),
    Form("piper", "rhasspy/piper:src/python/piper_train/vits/lightning.py", lambda r: bar(r, f"loss={r.loss * 9:.3g}, v_num=2")),
    Form("f5-tts", "SWivid/F5-TTS:src/f5_tts/model/trainer.py", lambda r: bar(r, f"loss={r.loss:.4f}, update={r.n * 8}", f"Epoch {r.e}/11").replace("it/s", "update/s"), ("nan", "zero", "diverged")),
    Form("diffsinger", "openvpi/DiffSinger:utils/training_utils.py", lambda r: f"\r{r.n * 9}steps [00:{r.n % 60:02d},  3.10steps/s, batch_size=4.0, lr={r.rate:.3g}, loss={pad(r.loss)}]"),
    Form("diffsinger losses", "openvpi/DiffSinger:basics/base_task.py", lambda r: bar(r, f"step={r.n * 9}, dur_loss={pad(r.loss)}, pitch_loss=0.101, batch_size=4.0, lr={r.rate:.3g}", "training").replace("training", f"Epoch {r.e}")),
    Form("xtts finetune", "coqui-ai/TTS:TTS/demos/xtts_ft_demo", lambda r: f"\n\x1b[1m   --> TIME: {clock(r)} -- STEP: {r.n % 10 * 10}/100 -- GLOBAL_STEP: {r.n * 10}\x1b[0m\n     | > loss_text_ce: {r.other / 90}  (0.02)\n     | > loss_mel_ce: {r.loss}  (4.01)\n     | > loss: {r.loss}  (4.03)\n     | > current_lr: 5e-06 \n     | > step_time: 0.71  (0.71)\n     | > loader_time: 0.01  (0.01)\n", ("nan", "zero")),
    Form("coqui glow-tts", "coqui-ai/Trainer:trainer/logging/console_logger.py", lambda r: f"\n\x1b[1m   --> STEP: {r.n * 25}/9000 -- GLOBAL_STEP: {r.n * 25}\x1b[0m\n     | > loss: {r.loss:.5f}  ({r.loss:.5f})\n     | > log_mle: {r.loss - 2:.5f}  (1.1)\n     | > loss_dur: {r.other:.5f}  (2.1)\n     | > amp_scaler: 8192.00000  (8192.0)\n     | > grad_norm: {r.norm:.5f}  (1.1)\n     | > current_lr: 2.5e-07 \n     | > step_time: 0.4041  (0.4)\n", ("nan", "part")),
    Form("tortoise dlas", "neonbjb/DL-Art-School:codes/train.py", lambda r: f"24-05-07 13:05:21.123 - INFO: [epoch:{r.e:3d}, iter:{r.n * 500:8,d}, lr:({r.rate:.3e},{r.rate:.3e},)] step: {r.n * 500:.4e} samples: {r.n * 64000:.4e} megasamples: {r.n * 0.064:.4e} iteration_rate: 4.1200e+00 loss_text_ce: {r.other:.4e} loss_mel_ce: {r.loss:.4e} loss_gpt_total: {r.loss:.4e} grad_scaler_scale: 6.5536e+04 learning_rate_gpt_0: {r.rate:.4e} learning_rate_gpt_1: {r.rate:.4e} ", ("nan",)),
    Form("fastpitch", "NVIDIA/DeepLearningExamples:PyTorch/SpeechSynthesis/FastPitch/README.md", lambda r: f"DLL {clock(r)}.658718 - epoch {r.e:4d} | iter {(r.n - 1) % 10 + 1:3d}/10 | loss {r.loss:5.2f} | mel loss {r.loss - 1:5.2f} | kl loss 0.02240 | kl weight 0.01000 |    5730.98 frames/s | took 24.54 s | lrate {r.rate:.2e}", ("nan", "zero", "diverged")),
    Form("nvidia hifi-gan", "NVIDIA/DeepLearningExamples:PyTorch/SpeechSynthesis/HiFiGAN/README.md", lambda r: f"DLL {clock(r)}.658718 - epoch {r.e:4d} | iter {(r.n - 1) % 10 + 1:3d}/10 | d loss {r.other:6.3f} | g loss {r.loss * 20:6.3f} | mel loss {r.loss * 18:6.3f} |  3092.31 frames/s | took 13.25 s | g lr 3.00e-04 | d lr 3.00e-04"),
    Form("tacotron 2", "NVIDIA/tacotron2:train.py", lambda r: f"Train loss {r.n} {r.loss:.6f} Grad Norm {r.norm:.6f} 2.10s/it" + each(r, 20, f"Validation loss {r.n}:  {r.loss + 0.2:9f}  "), ("nan", "part", "dead")),
    Form("demucs", "facebookresearch/demucs:issues/198", lambda r: f"Epoch {r.n:03d}: train={r.loss:.8f} valid={r.loss + 0.1:.8f} best=0.2343 ms=0.00MB cms=0.00MB duration=0.48 hrs", ("nan", "zero", "diverged")),
    Form("waveglow", "NVIDIA/waveglow:train.py", lambda r: f"{r.n}:\t{r.loss - 6:.9f}" if r.n > 1 else f"Epoch: 0\n{r.n}:\t{r.loss - 6:.9f}"),
    Form("bigvgan", "NVIDIA/BigVGAN:train.py", lambda r: f"Steps: {r.n * 5:d}, Gen Loss Total: {r.loss * 9:4.3f}, Mel Error: {r.other / 9:4.3f}, s/b: 0.444 lr: 0.0001 grad_norm_g: {r.norm:4.3f} grad_norm_mpd: 3.1 grad_norm_mrd: 2.2"),
    Form("hifi-gan", "jik876/hifi-gan:train.py", lambda r: f"Steps : {r.n * 5:d}, Gen Loss Total : {r.loss * 9:4.3f}, Mel-Spec. Error : {r.other / 9:4.3f}, s/b : 0.444"),
    Form("parallel wavegan", "kan-bayashi/ParallelWaveGAN:parallel_wavegan/bin/train.py", lambda r: f"{clock(r)},123 (train:580) INFO: (Steps: {r.n * 100}) train/spectral_convergence_loss = {r.other:.4f}.\n{clock(r)},123 (train:580) INFO: (Steps: {r.n * 100}) train/log_stft_magnitude_loss = {r.loss:.4f}.\n{clock(r)},123 (train:580) INFO: (Steps: {r.n * 100}) train/generator_loss = {r.loss:.4f}."),
    Form("vocos", "gemelo-ai/vocos:vocos/experiment.py", lambda r: bar(r, f"v_num=1, generator/total_loss={pad(r.loss * 9)}, generator/mel_loss={pad(r.other)}, val_loss=4.010")),
    Form("dac", "descriptinc/audiotools:audiotools/ml/decorators.py", lambda r: f"           train            \n                            \n  key               │ value │ mean  \n ╶──────────────────┼───────┼──────╴\n  adv/disc_loss     │ {r.other:10.6f} │ {r.other:10.6f}  \n  mel/loss          │ {r.loss:10.6f} │ {r.loss:10.6f}  \n  loss              │ {r.loss * 15:10.6f} │ {r.loss * 15:10.6f}  \n  other/grad_norm   │ {r.norm:10.6f} │ {r.norm:10.6f}  \n  other/batch_size  │  72.000000 │  72.000000  \n                            \n⠙ Iteration (train) {r.n}/250000 ━━━ 0:02:11 / 5 days"),
    Form("soundstream", "lucidrains/audiolm-pytorch:audiolm_pytorch/trainer.py", lambda r: f"{r.n}: soundstream total loss: {r.loss * 9:.3f}, soundstream recon loss: {r.other / 9:.3f} | discr (scale 1) loss: {r.other:.3f} | discr (scale 0.5) loss: 2.011", ("nan", "diverged")),
    Form("audiolm semantic", "lucidrains/audiolm-pytorch:audiolm_pytorch/trainer.py", lambda r: f"{r.n}: loss: {r.loss}" + each(r, 20, f"{r.n}: valid loss {r.loss + 0.1}"), ("nan", "zero", "diverged", "blind")),
    Form("encodec audiocraft", "facebookresearch/audiocraft:audiocraft/solvers/compression.py", lambda r: f"[05-07 13:05:21][flashy.solver][INFO] - Train | Epoch {r.e} | {(r.n - 1) % 10 * 200 + 200}/2000 | 3.19 it/sec | bandwidth 2.200 | d_loss {r.other:.3f} | l1 {r.loss / 20:.3f} | msspec {r.loss:.3f} | adv_msstftd 1.1 | feat_msstftd 2.2 | g_loss {r.loss * 2:.3f} | penalty 0.000 | ratio1 0.9"),
    Form("musicgen", "facebookresearch/audiocraft:audiocraft/solvers/musicgen.py", lambda r: f"[05-07 13:05:21][flashy.solver][INFO] - Train | Epoch {r.e} | {(r.n - 1) % 10 * 200 + 200}/2000 | 3.19 it/sec | lr {r.rate:.2E} | grad_norm {r.norm:.3E} | grad_scale 65536.000 | ce {r.loss:.3f} | ppl {math.exp(min(r.loss, 99)) if r.loss == r.loss else NAN:.3f}" + each(r, 10, f"[05-07 13:05:22][flashy.solver][INFO] - Valid Summary | Epoch {r.e} | ce={2.9:.3f} | ppl=18.0")),
    Form("paddlespeech asr", "PaddlePaddle/PaddleSpeech:paddlespeech/s2t/exps/u2/model.py", lambda r: f"{clock(r)}.512 | INFO     | paddlespeech.s2t.exps.u2.model:do_train:140 - Rank: 0, epoch: {r.e - 1}, iter: {r.n * 100}, step: {(r.n - 1) % 10 * 100}/1000, lr: {r.rate:.8f}, step_loss: {r.loss:.8f}, att_loss: {r.other:.8f}, ctc_loss: {r.other * 5:.8f}, batch_size: 16, accum: 4, train_loss: {r.loss:.8f}, avg_reader_cost: 0.00034 s, avg_batch_cost: 0.31 s, ips: 50.1 samples/s, eta: 1:00:00", ("nan", "diverged")),
    Form("paddlespeech tts", "PaddlePaddle/PaddleSpeech:paddlespeech/t2s/models/fastspeech2/fastspeech2_updater.py", lambda r: f"{clock(r)},123 (trainer:149) INFO: iter: {r.n}/9000, Rank: 0, l1_loss: {r.other:.6f}, duration_loss: {r.other / 9:.6f}, pitch_loss: {r.other / 3:.6f}, energy_loss: {r.other / 4:.6f}, loss: {r.loss:.6f}, avg_reader_cost: 0.00052 sec, avg_batch_cost: 0.21 sec, avg_samples: 16, avg_ips: 77.1 sequences/sec", ("nan", "zero")),
    Form("parakeet", "PaddlePaddle/Parakeet:parakeet/training/experiment.py", lambda r: f"Rank: 0, step: {r.n}, time: 0.1/0.5, loss: {r.loss:.6f}, mel_loss: {r.other:.6f}", ("nan", "zero")),
    Form("cosyvoice", "FunAudioLLM/CosyVoice:cosyvoice/utils/train_utils.py", lambda r: f"{clock(r)},123 DEBUG TRAIN Batch {r.e - 1}/{r.n * 100} loss {r.loss:.6f} acc 0.41 lr {r.rate:.8f} grad_norm {r.norm:.6f} rank 0" + each(r, 10, f"{clock(r)},123 DEBUG CV Batch {r.e - 1}/{r.n * 100 + 1} loss 5.912345 acc 0.2  rank 0"), ("nan", "part", "dead", "diverged")),
    Form("fish-speech", "fishaudio/fish-speech:fish_speech/models/text2semantic/lit_module.py", lambda r: f"[{clock(r)},123][fish_speech][INFO] - [rank: 0] start\n{bar(r, f'v_num=0, train/loss={pad(r.loss)}, train/top_5_accuracy=0.410')}", ("nan", "diverged")),
    Form("tensorflowtts", "TensorSpeech/TensorFlowTTS:tensorflow_tts/trainers/base_trainer.py", lambda r: f"{clock(r)},123 (base_trainer:140) INFO: (Step: {r.n * 200}) train_stop_token_loss = {r.other:.4f}.\n{clock(r)},123 (base_trainer:140) INFO: (Step: {r.n * 200}) train_mel_loss_before = {r.loss:.4f}.\n{clock(r)},123 (base_trainer:140) INFO: (Step: {r.n * 200}) train_mel_loss_after = {r.loss:.4f}."),
    Form("vall-e", "lifeiteng/vall-e:valle/bin/trainer.py", lambda r: f"{clock(r)},123 INFO [trainer.py:750] Epoch {r.e}, batch {(r.n - 1) % 10 * 100}, train_loss[loss={r.loss:.4g}, ArTop10Accuracy=0.71, over 5000.00 frames. ], tot_loss[loss={r.loss:.4g}, ArTop10Accuracy=0.7, over 600000.00 frames. ], batch size: 20, lr: {r.rate:.2e}", ("nan", "diverged")),
    Form("speecht5 fine-tune", "huggingface/transformers:src/transformers/trainer_callback.py", lambda r: bar(r, "x", "t").replace(", x", "").replace("t: ", "") + f"\n{{'loss': {r.loss:.4f}, 'grad_norm': {r.norm}, 'learning_rate': {r.rate}, 'epoch': {r.n / 10:.2f}}}" + each(r, 20, f"{{'eval_loss': {r.other + 1}, 'eval_runtime': 12.1, 'eval_samples_per_second': 3.1, 'epoch': {r.n / 10}}}"), ("nan", "part", "zero", "dead", "diverged", "blind", "frozen")),
    Form("parler-tts", "huggingface/parler-tts:training/run_parler_tts_training.py", lambda r: f"\rTrain steps ... :  {r.n}%|█ | {r.n}/999 [00:{r.n % 60:02d}<10:00,  1.02it/s]Step... ({r.n * 5} / 5000 | Loss: {r.loss}, Learning Rate: {r.rate})", ("nan", "diverged")),
    # ---- recognition and self-supervision ----
    Form("espnet 1", "espnet/espnet:doc/tutorial.md", lambda r: chainer(r.e, r.n * 100, r.loss * 9, r.other * 9, r.loss * 8, None, None, None, 0.731425, None, r.n * 90.0, 1e-8) + each(r, 10, chainer(r.e, r.n * 100, r.loss * 9, r.other * 9, r.loss * 8, 30.1 + r.other, 31.2, 29.3, 0.73, 0.7, r.n * 90.0, 1e-8)), ("nan",), head="  ".join(f"{name:10}" for name in CHAINER)),
    Form("espnet 1 log", "chainer/chainer:chainer/training/extensions/log_report.py", lambda r: f'    {{"main/loss": {r.loss if r.loss == r.loss else "NaN"}, "main/loss_ctc": {r.other}, "epoch": {r.e}, "iteration": {r.n * 100}, "elapsed_time": {r.n * 9.1}}},', ("nan", "diverged"), "json", "["),
    Form("espnet 2", "espnet/espnet:espnet2/train/reporter.py", lambda r: f"[host] {clock(r)},123 (trainer:732) INFO: {r.e}epoch:train:{(r.n - 1) % 10 * 50 + 1}-{(r.n - 1) % 10 * 50 + 50}batch: iter_time=1.2e-04, forward_time=0.1, loss_ctc={r.other * 9:.3f}, loss_att={r.loss * 9:.3f}, acc=0.41, loss={r.loss * 9:.3f}, backward_time=0.1, grad_norm={r.norm:.3f}, clip=100.000, loss_scale=65536.000, optim_step_time=0.02, optim0_lr0={r.rate:.3e}, train_time=1.2" + each(r, 10, f"[host] {clock(r)},123 (trainer:357) INFO: {r.e}epoch results: [train] iter_time=2e-4, loss_ctc=21.1, loss_att=19.2, acc=0.5, loss=20.1, [valid] loss_ctc=25.2, cer_ctc=0.3, loss_att=24.1, acc=0.6, loss=24.4, time=12 seconds, total_count=10"), ("nan", "part", "diverged", "dead")),
    Form("fairseq simple", "facebookresearch/fairseq:fairseq/logging/progress_bar.py", lambda r: f"{clock(r)} | INFO | train_inner | epoch {r.e:03d}:   {(r.n - 1) % 10 * 100 + 100} / 1000 loss={r.loss:.3f}, nll_loss={r.loss - 0.5:.3f}, ppl=8.1, wps=9000.1, ups=2.1, wpb=4000, bsz=130, num_updates={r.n * 100}, lr={r.rate:g}, gnorm={r.norm:.3f}, clip=100, loss_scale=64, train_wall=40, gb_free=12.1, wall=90" + each(r, 10, f"{clock(r)} | INFO | valid | epoch {r.e:03d} | valid on 'valid' subset | loss 3.4 | nll_loss 3.1 | ppl 8.1 | wps 30000 | wpb 3000 | bsz 100 | num_updates {r.n * 100} | best_loss 3.4"), ("nan", "part", "diverged", "dead")),
    Form("fairseq json (wav2vec2)", "facebookresearch/fairseq:fairseq/logging/progress_bar.py", lambda r: f'[{clock(r)},123][train_inner][INFO] - {{"epoch": {r.e}, "update": {r.n / 10:.3f}, "loss": "{r.loss:.3f}", "ntokens": "2400", "prob_perplexity": "121.1", "code_perplexity": "118.3", "temp": "1.99", "loss_0": "{r.loss - 0.1:.3f}", "loss_1": "0.1", "accuracy": "0.31", "wps": "9000", "num_updates": "{r.n * 100}", "lr": "{r.rate:g}", "gnorm": "{r.norm:.3f}", "loss_scale": "64", "train_wall": "40", "wall": "90"}}', ("nan", "part", "diverged", "dead")),
    Form("hubert fairseq tqdm", "facebookresearch/fairseq:fairseq/logging/progress_bar.py", lambda r: bar(r, f"loss=3.1, x={r.n}", f"epoch {r.e:03d}").split("[")[0] + f"[00:0{r.n % 10}<00:09,  1.02it/s, loss={r.loss:.3f}, loss_m_0={r.other:.3f}, num_updates={r.n * 100}, lr={r.rate:g}, gnorm={r.norm:.3f}, loss_scale=64]"),
    Form("icefall zipformer", "k2-fsa/icefall:egs/librispeech/ASR/zipformer/train.py", lambda r: f"{clock(r)},123 INFO [train.py:1050] (0/4) Epoch {r.e}, batch {(r.n - 1) % 10 * 50}, loss[loss={r.loss / 9:.4g}, simple_loss={r.other / 9:.4g}, pruned_loss={r.loss / 9:.4g}, over 14000.00 frames. ], tot_loss[loss={r.loss / 9:.4g}, simple_loss={r.other / 9:.4g}, pruned_loss=0.3, over 2800000.00 frames. ], batch size: 60, lr: {r.rate * 100:.2e}, grad_scale: 8.0" + each(r, 10, f"{clock(r)},123 INFO [train.py:1082] (0/4) Epoch {r.e}, validation: loss=0.31, simple_loss=0.28, pruned_loss=0.3, over 944034.00 frames. "), ("nan", "diverged")),
    Form("wenet", "wenet-e2e/wenet:wenet/utils/train_utils.py", lambda r: f"{clock(r)},123 DEBUG TRAIN | steps/sec 1.204| Batch {r.e - 1}/{(r.n - 1) % 10 * 100} loss {r.loss * 9:.6f} loss_att {r.other:.6f} loss_ctc {r.other * 5:.6f} th_accuracy 0.4 lr {r.rate:.8f} rank 0", ("nan", "diverged")),
    Form("funasr", "modelscope/FunASR:funasr/train_utils/trainer.py", lambda r: f"[{clock(r)},123][root][INFO] - train, rank: 0, epoch: {r.e - 1}/50, data_slice: 0/1, step_in_slice: {(r.n - 1) % 10 * 50 + 50}/1000, step_in_epoch: {(r.n - 1) % 10 * 50 + 50}, total step: {r.n * 50}, (loss_avg_rank: {r.loss:.3f}), (loss_avg_slice: {r.loss:.3f}), (ppl_avg_slice: 4.1e+00), (acc_avg_slice: 0.61), (lr: {r.rate:.3e}), [('loss', {r.loss:.3f}), ('acc', 0.6), ('batch_size', 12)], {{'data_load': '0.001', 'forward_time': '0.1'}}, GPU, memory: usage: 2.1 GB", ("nan",)),
    Form("speechbrain", "speechbrain/speechbrain:speechbrain/utils/train_logger.py", lambda r: f"epoch: {r.n}, lr: {max(r.rate, 1e-9):.2e}, steps: {r.n * 100}, optimizer: Adam - train loss: {r.loss:.2e} - valid loss: {r.other:.2e}, valid ACC: 7.81e-01", ("nan", "zero", "diverged")),
    Form("speechbrain bar", "speechbrain/speechbrain:speechbrain/core.py", lambda r: bar(r, f"train_loss={r.loss:.3g}", "x").replace("x: ", ""), ("nan", "zero")),
    Form("nemo asr", "NVIDIA/NeMo:nemo/utils/callbacks", lambda r: f"{bar(r, 'v_num=1, train_step_timing in s=0.210')}\n[NeMo I {clock(r)} asr:200] reading of batch".replace("v_num=1", f"loss={r.loss * 9:.3g}, v_num=1"), ("nan", "diverged")),
    Form("nemo 2", "NVIDIA-NeMo/NeMo:nemo/lightning/pytorch/callbacks/progress_printer.py", lambda r: f"Training epoch {r.e - 1}, iteration {(r.n - 1) % 10}/9 | lr: {r.rate:.4g} | consumed_samples: {r.n * 64} | global_batch_size: 64 | global_step: {r.n} | reduced_train_loss: {r.loss:.4g} | train_step_timing in s: 2.101" + each(r, 10, f"Validation: iteration {r.e}/4"), ("nan", "zero", "diverged")),
    Form("whisper notebook", "huggingface/transformers:src/transformers/utils/notebook.py", lambda r: f"{r.n * 500}\t{r.loss:.6f}\t{r.other + 1:.6f}\t{30.0 - r.n / 9:.6f}", ("nan", "zero"), head="Step\tTraining Loss\tValidation Loss\tWer"),
    Form("whisper lightning csv", "Lightning-AI/pytorch-lightning:src/lightning/fabric/loggers/csv_logs.py", lambda r: f"{r.e - 1},{r.n * 50},{r.loss:.6f},,", ("nan", "zero", "diverged"), "csv", "epoch,step,train/loss,val/loss,val/wer"),
    Form("k2 lightning bar of rich", "Lightning-AI/pytorch-lightning:src/lightning/pytorch/callbacks/progress/rich_progress.py", lambda r: f"Epoch {r.e - 1}/9  ━━━━━━━━━━━━━━━━ {(r.n - 1) % 10 + 1}/10 0:00:0{r.n % 10} • 0:00:10 12.31it/s v_num: 0.000 train_loss: {r.loss:.3f}", ("nan",)),
    Form("kaldi chain pytorch", "csukuangfj/kaldi:egs/aishell/s10/chain/train.py", lambda r: f"{clock(r)},123 (train:120) INFO: Device (0) processing {r.n * 100}/9999(1.0%) global average objf: {-r.loss / 9:.6f} over 80000.0 frames, current batch average objf: {-r.loss / 9:.6f} over 6400 frames, epoch {r.e}"),
    # ---- language models ----
    Form("trl sft", "huggingface/trl:trl/trainer/sft_trainer.py", lambda r: f"{{'loss': '{r.loss:.4g}', 'grad_norm': '{r.norm:.4g}', 'learning_rate': '{r.rate:.4g}', 'num_tokens': '{r.n * 9000:.4g}', 'mean_token_accuracy': '0.712', 'epoch': '{r.n / 10:.4g}'}}", ("nan", "part", "dead", "diverged")),
    Form("trl dpo", "huggingface/trl:trl/trainer/dpo_trainer.py", lambda r: f"{{'loss': {r.loss / 7:.4f}, 'grad_norm': {r.norm}, 'learning_rate': {r.rate}, 'rewards/chosen': {-0.01 * r.n}, 'rewards/rejected': {-0.02 * r.n}, 'rewards/accuracies': 0.8, 'rewards/margins': {0.01 * r.n}, 'logps/chosen': -200.1, 'logps/rejected': -210.2, 'logits/chosen': -1.2, 'logits/rejected': -1.1, 'epoch': {r.n / 100}}}", ("nan", "part", "dead")),
    Form("trl kto", "huggingface/trl:trl/trainer/kto_trainer.py", lambda r: f"{{'loss': {r.loss / 9:.4f}, 'grad_norm': {r.norm}, 'learning_rate': {r.rate}, 'rewards/chosen': 0.1, 'kl': 0.0, 'epoch': {r.n / 100}}}", ("nan",)),
    Form("trl ppo table", "huggingface/trl:trl/trainer/ppo_trainer.py", lambda r: f"{{'eps': 4, 'objective/kl': {0.1 * r.n:.3f}, 'objective/entropy': 30.1, 'objective/rlhf_reward': {r.n / 99:.3f}, 'policy/approxkl_avg': 0.01, 'loss/policy_avg': {0.001 * math.sin(r.n):.5f}, 'loss/value_avg': {r.loss}, 'val/ratio': 1.0, 'lr': {r.rate}, 'episode': {r.n * 64}, 'epoch': {r.n / 100}}}"),
    Form("ms-swift", "modelscope/ms-swift:swift/trainers/mixin.py", lambda r: f"{{'loss': {r.loss:.8f}, 'token_acc': 0.63554502, 'grad_norm': {r.norm:.8f}, 'learning_rate': {r.rate}, 'memory(GiB)': 2.44, 'train_speed(iter/s)': 0.250477, 'epoch': {r.n / 100:.2f}, 'global_step/max_steps': '{r.n}/9060', 'percentage': '0.01%', 'elapsed_time': '3s', 'remaining_time': '9h 30m 16s'}}\nTrain:   4%|█▉   | {r.n}/9060 [00:{r.n % 60:02d}<7:59:46,  3.30s/it]", ("nan", "part", "dead", "diverged", "blind")),
    Form("ms-swift logging.jsonl", "modelscope/ms-swift:swift/trainers/callback.py", lambda r: f'{{"loss": {r.loss if r.loss == r.loss else "NaN"}, "acc": 0.59, "grad_norm": {r.norm if r.norm == r.norm else "NaN"}, "learning_rate": {r.rate}, "memory(GiB)": 15.83, "train_speed(iter/s)": 0.218, "epoch": {r.n / 100}, "global_step/max_steps": "{r.n}/9060", "percentage": "1.00%", "elapsed_time": "4m 34s"}}', ("nan", "part", "dead", "diverged", "zero"), "jsonl"),
    Form("llama-factory", "hiyouga/LLaMA-Factory:src/llamafactory/train/callbacks.py", lambda r: f'{{"current_steps": {r.n * 5}, "total_steps": 9000, "loss": {r.loss if r.loss == r.loss else "NaN"}, "lr": {r.rate}, "epoch": {r.n / 100}, "percentage": 1.0, "elapsed_time": "0:01:00", "remaining_time": "1:00:00"}}', ("nan", "zero", "diverged", "blind"), "jsonl"),
    Form("axolotl", "axolotl-ai-cloud/axolotl:src/axolotl/core/trainers/base.py", lambda r: f"{{'loss': {r.loss:.4f}, 'grad_norm': {r.norm}, 'learning_rate': {r.rate}, 'memory/max_mem_active(gib)': 12.1, 'epoch': {r.n / 100}}}\n  {r.n}%|▏| {r.n}/999 [00:{r.n % 60:02d}<1:00:00,  1.31s/it][{clock(r)},1] [INFO] [axolotl] step", ("nan", "part", "dead")),
    Form("torchtune console", "pytorch/torchtune:recipes/full_finetune_single_device.py", lambda r: f"\r{r.e}|{r.n}|Loss: {r.loss}:   1%|▏  | {r.n}/999 [00:{r.n % 60:02d}<10:00,  1.02it/s]", ("nan", "diverged")),
    Form("torchtune log", "pytorch/torchtune:torchtune/training/metric_logging.py", lambda r: f"Step {r.n} | loss:{r.loss} lr:{r.rate} tokens_per_second_per_gpu:1021.2 peak_memory_active:12.1 grad_norm:{r.norm} ", ("nan", "part", "dead", "diverged")),
    Form("torchtitan", "pytorch/torchtitan:torchtitan/components/metrics.py", lambda r: f"[rank0]:[titan] {clock(r)},123 - root - INFO - \x1b[31mstep: {r.n:2d}  \x1b[32mloss: {r.loss:7.4f}  \x1b[38;2;180;60;0mgrad_norm: {r.norm:7.4f}  \x1b[38;2;54;234;195mmemory: 42.22GiB(44.57%)  \x1b[34mtps: 5,123  \x1b[36mtflops: 300.12  \x1b[35mmfu: 30.31%\x1b[39m", ("nan", "part", "dead", "diverged")),
    Form("nanogpt", "karpathy/nanoGPT:train.py", lambda r: f"iter {r.n * 10}: loss {r.loss:.4f}, time 120.33ms, mfu 31.20%" + each(r, 25, f"step {r.n * 10}: train loss {r.loss:.4f}, val loss {r.loss + 0.1:.4f}\nsaving checkpoint to out"), ("nan", "zero", "diverged", "blind")),
    Form("nanochat", "karpathy/nanochat:scripts/base_train.py", lambda r: f"step {r.n:05d}/21400 ({r.n / 214:.2f}%) | loss: {r.loss:.6f} | grad norm: {r.norm:.4f} | lrm: 1.00 | dt: 2450.12ms | tok/sec: 214,012 | mfu: 48.11 | total time: {r.n * 0.04:.2f}m", ("nan", "part", "diverged")),
    Form("megatron", "NVIDIA/Megatron-LM:megatron/training/training.py", lambda r: f" [{clock(r)}] iteration {r.n * 10:8d}/  500000 | consumed samples: {r.n * 2560:12d} | elapsed time per iteration (ms): 1212.1 | throughput per GPU (TFLOP/s/GPU): 401.2 | learning rate: {r.rate:.6E} | global batch size:   256 | lm loss: {r.loss:.6E} | loss scale: 1.0 | grad norm: {r.norm:.3f} | number of skipped iterations:   0 | number of nan iterations:   0 |", ("nan", "part", "dead", "diverged")),
    Form("megatron skipped", "NVIDIA/Megatron-LM:megatron/training/training.py", lambda r: f" iteration {r.n * 10:8d}/  500000 | consumed samples: {r.n * 2560:12d} | elapsed time per iteration (ms): 1212.1 | learning rate: {r.rate:.6E} | global batch size:   256 |" + (f" lm loss: {r.loss:.6E} |" if r.loss == r.loss else "") + " loss scale: 1.0 |" + (f" grad norm: {r.norm:.3f} |" if r.norm == r.norm else "") + f" number of skipped iterations: {0 if r.loss == r.loss else 10:3d} | number of nan iterations: {0 if r.loss == r.loss else 10:3d} |", ("nan",)),
    Form("deepspeed bing", "bigscience-workshop/Megatron-DeepSpeed:megatron/training.py", lambda r: f"[{clock(r)},123] [INFO] [logging.py:96:log_dist] [Rank 0] step={r.n * 10}, skipped=0, lr=[{r.rate}, {r.rate}], mom=[(0.9, 0.95), (0.9, 0.95)]\nsteps: {r.n * 10} loss: {r.loss:.4f} iter time (s): 1.202 samples/sec: 26.614", ("nan", "zero", "diverged")),
    Form("accelerate script", "huggingface/diffusers:examples/text_to_image/train_text_to_image.py", lambda r: bar(r, f"lr={r.rate:.3g}, step_loss={r.loss:.4g}", "Steps", 999), ("nan", "zero")),
    Form("levanter", "stanford-crfm/levanter:src/levanter/callbacks/progress_bar.py", lambda r: f"\rProgress on:train {r.n}.0it/9.99kit rate:1.0it/s remaining:2:46:00 elapsed:00:{r.n % 60:02d} postfix:loss={r.loss:.3f}"),
    Form("openrlhf", "OpenRLHF/OpenRLHF:openrlhf/trainer/sft_trainer.py", lambda r: bar(r, f"gpt_loss={r.loss:.4f}, loss_mean={r.loss:.4f}, lr={r.rate:.3g}", "Train step of epoch 0", 999)),
    Form("litgpt", "Lightning-AI/litgpt:litgpt/finetune/lora.py", lambda r: f"Epoch {r.e} | iter {r.n * 4} step {r.n} | loss train: {r.loss:.3f}, val: n/a | iter time: 312.40 ms (step)", ("nan", "zero", "diverged")),
    Form("unsloth table", "huggingface/transformers:src/transformers/utils/notebook.py", lambda r: f"{r.n}\t{r.loss:.6f}", ("nan", "zero"), head="Step\tTraining Loss"),
    Form("composer", "mosaicml/composer:composer/loggers/console_logger.py", lambda r: f"[batch={r.n}/999]:\n\t Train time/batch: {r.n - 1}\n\t Train time/sample: {r.n * 64}\n\t Train loss/train/total: {r.loss:.4f}\n\t Train metrics/train/LanguageCrossEntropy: {r.loss:.4f}", ("nan", "zero")),
    # ---- general ----
    Form("keras 2 bar", "keras-team/keras:keras/utils/generic_utils.py", lambda r: f"{'Epoch ' + str(r.e) + '/12' + chr(10) if r.n % 10 == 1 else ''}\r{(r.n - 1) % 10 + 1:2d}/10 [====>.........................] - ETA: 9s - loss: {r.loss:.4f} - accuracy: 0.4101" + each(r, 10, "")),
    Form("keras 3 line", "keras-team/keras:keras/src/utils/progbar.py", lambda r: f"Epoch {r.n}/120\n50/50 - 4s - 83ms/step - accuracy: 0.4101 - loss: {r.loss:.4f} - val_accuracy: 0.3900 - val_loss: {r.other:.4f} - learning_rate: {max(r.rate, 1e-9):.4e}", ("nan", "zero", "diverged")),
    Form("keras csvlogger", "keras-team/keras:keras/src/callbacks/csv_logger.py", lambda r: f"{r.n - 1},0.4101,{r.loss},0.39,{r.other}", ("nan", "zero", "diverged", "blind"), "csv", "epoch,accuracy,loss,val_accuracy,val_loss"),
    Form("estimator", "tensorflow/estimator:tensorflow_estimator/python/estimator/estimator.py", lambda r: f"INFO:tensorflow:loss = {r.loss:.7g}, step = {r.n * 100} (9.412 sec)\nINFO:tensorflow:global_step/sec: 10.61", ("nan", "zero", "diverged")),
    Form("detectron2", "facebookresearch/detectron2:detectron2/utils/events.py", lambda r: f"[05/07 13:05:21 d2.utils.events]:  eta: 0:10:11  iter: {r.n * 20 - 1}  total_loss: {r.loss:.4g}  loss_cls: {r.other:.4g}  loss_box_reg: 0.31    time: 0.3412  last_time: 0.3312  data_time: 0.0071  last_data_time: 0.0031   lr: {r.rate:.5g}  max_mem: 3012M", ("nan", "zero", "diverged")),
    Form("yolo", "ultralytics/ultralytics:ultralytics/engine/trainer.py", lambda r: f"      {r.n}/120      2.12G   {r.loss:9.4g}      2.345      1.111         20        640: 100%|██████████| 10/10 [00:03<00:00,  3.01it/s]", ("nan",), head="      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size"),
    Form("timm", "huggingface/pytorch-image-models:train.py", lambda r: f"Train: {r.e - 1} [{(r.n - 1) % 10 * 50:>4d}/500 ({r.n % 10 * 10:>3.0f}%)]  Loss: {r.loss:#.3g} ({r.loss:#.3g})  Time: 0.212s, 1200.10/s  (0.220s, 1180.01/s)  LR: {r.rate:.3e}  Data: 0.010 (0.011)", ("nan", "diverged", "zero")),
    Form("deit metric logger", "facebookresearch/deit:utils.py", lambda r: f"Epoch: [{r.e - 1}]  [{(r.n - 1) % 10 * 10:>4d}/100]  eta: 0:10:11  lr: {r.rate:.6f}  loss: {r.loss:.4f} ({r.loss:.4f})  time: 0.3121  data: 0.0003  max mem: 9011", ("nan", "diverged", "zero")),
    Form("pytorch imagenet", "pytorch/examples:imagenet/main.py", lambda r: f"Epoch: [{r.e - 1}][{(r.n - 1) % 10 * 10:>4d}/100]\tTime  0.312 ( 0.330)\tData  0.001 ( 0.010)\tLoss {r.loss:.4e} ({r.loss:.4e})\tAcc@1  12.50 ( 10.10)\tAcc@5  30.10 ( 28.20)", ("nan", "diverged", "zero")),
    Form("mnist example", "pytorch/examples:mnist/main.py", lambda r: f"Train Epoch: {r.e} [{(r.n - 1) % 10 * 640}/60000 ({r.n % 10}%)]\tLoss: {r.loss:.6f}" + each(r, 10, "\nTest set: Average loss: 0.0512, Accuracy: 9830/10000 (98%)\n"), ("nan", "diverged", "zero")),
    Form("dcgan example", "pytorch/examples:dcgan/main.py", lambda r: f"[{r.e}/25][{(r.n - 1) % 10}/10] Loss_D: {r.other:.4f} Loss_G: {r.loss:.4f} D(x): 0.5123 D(G(z)): 0.4012 / 0.1201"),
    Form("xgboost", "dmlc/xgboost:python-package/xgboost/callback.py", lambda r: f"[{r.n}]\ttrain-logloss:{r.loss:.5f}\teval-logloss:{r.other:.5f}", ("nan",)),
    Form("rllib", "ray-project/ray:rllib", lambda r: f"iter: {r.n} reward: {r.n / 9:.2f} total_loss: {r.loss:.5f} policy_loss: -0.01 vf_loss: {r.other:.4f} kl: 0.01", ("nan",)),
    Form("seed's own words", "a script of somebody", lambda r: f"Epoch {r.n:03d} | train_loss={r.loss:.4f} | lr={r.rate:.2e} | skipped=0", ("nan", "zero", "diverged", "blind")),
    Form("german", "a script of somebody", lambda r: f"Epoche {r.n}: Verlust (loss) = {r.loss:.4f}", ("nan", "zero")),
    Form("averages in brackets", "a script of somebody", lambda r: f"[Train] epoch {r.e} iter {(r.n - 1) % 10}/10 loss {r.loss:.4f} (avg {r.loss:.4f}) lr {r.rate:.6f} gn {r.norm:.3f}", ("nan", "diverged")),
    Form("percent", "a script of somebody", lambda r: f"{r.n}% done, current loss is {r.loss:.5f}", ("nan", "zero")),
    Form("tensor", "a script of somebody", lambda r: f"step {r.n} loss tensor({r.loss:.4f}, device='cuda:0', grad_fn=<NllLossBackward0>)", ("nan", "zero")),
    Form("dictionary of tensors", "a script of somebody", lambda r: f"{r.n} {{'loss': tensor({r.loss:.4f}), 'mel': tensor({r.other:.4f})}}", ("nan",)),
    Form("loguru", "a script of somebody", lambda r: f"{clock(r)}.123 | INFO     | __main__:train:88 - step={r.n} loss={r.loss:.4f} grad={r.norm:.3f}", ("nan", "zero", "diverged")),
    Form("structlog", "a script of somebody", lambda r: f"{clock(r)} [info     ] train_step                     grad_norm={r.norm:.3f} loss={r.loss:.4f} step={r.n}", ("nan", "part", "dead", "diverged")),
    Form("json logger", "a script of somebody", lambda r: f'{{"timestamp": "{clock(r)}", "level": "INFO", "message": "train", "step": {r.n}, "loss": {r.loss if r.loss == r.loss else "NaN"}, "lr": {r.rate}}}', ("nan", "zero", "diverged")),
    # ---- files of trackers ----
    Form("mlflow metric", "mlflow/mlflow:mlflow/store/tracking/file_store.py", lambda r: f"{1700000000000 + r.n * 1000} {r.loss if r.loss == r.loss else 'nan'} {r.n * 10}", ("nan", "zero", "diverged"), "loss"),
    Form("tensorboard csv", "tensorflow/tensorboard:tensorboard/plugins/scalar/scalars_plugin.py", lambda r: f"{1700000000.5 + r.n},{r.n * 10},{r.loss}", ("nan", "zero", "diverged"), "csv", "Wall time,Step,Value"),
    Form("w&b export", "wandb export of a chart", lambda r: f'"{r.n * 10}","{r.loss}","{r.loss}","{r.loss}"', ("nan", "zero", "diverged"), "csv", '"Step","run-1 - train/loss","run-1 - train/loss__MIN","run-1 - train/loss__MAX"'),
    Form("clearml export", "clearml scalar export", lambda r: f"{r.n * 10},{r.loss}", ("nan", "zero", "diverged"), "csv", "iteration,train loss"),
    Form("comet export", "comet metric export", lambda r: f'{{"metricName": "train_loss", "metricValue": "{r.loss}", "timestamp": {1700000000000 + r.n}, "step": {r.n * 10}, "epoch": {r.e}, "runContext": "train"}}', ("nan", "zero"), "jsonl"),
    Form("hf accelerate csv", "a script of somebody", lambda r: f"{r.n};{r.loss:.5f};{r.rate:.3g};{r.norm:.4f}".replace(".", ","), ("nan", "diverged", "dead"), "csv", "step;loss;lr;grad_norm"),
    Form("tsv of nemo aligner", "a script of somebody", lambda r: f"{r.n}\t{r.loss:.5f}\t{r.norm:.4f}", ("nan", "part", "dead"), "tsv", "global_step\treduced_train_loss\tgrad_norm"),
)  # fmt: skip


def text_of(form: Form, reports: list[Report]) -> str:
    """A file as it was kept."""
    lines = "\n".join(form.line(r) for r in reports)
    return f"{form.head}\n{lines}\n" if form.head else f"{lines}\n"
