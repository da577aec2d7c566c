"""A study's training step beside a plain PyTorch loop of the same model: CPU seconds on one thread, in turns.

    python benchmarks/study_step.py [--rounds 15]

Prints one line of JSON: the medians, and the plain loop's time over the study's (1: as fast; above it the study is faster).
"""

from __future__ import annotations

import argparse
import copy
import json
import time

import numpy as np
import torch
import torch.nn.functional as F

from memcore.study.models.unet import new_unet, noise_schedule
from memcore.study.protocols.protocol import Factors
from memcore.study.training.trainer import Trainer

STEPS = 5


def plain_loop(factors: Factors, images: np.ndarray, shape: tuple[int, int, int]):
    """Yield after each step of the loop that one would write: AdamW, one cycle, an average of the weights."""
    net = new_unet(factors, shape, 0, (0,)).train()
    average = copy.deepcopy(net)
    clean = F.pixel_unshuffle(
        torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float() / 127.5 - 1, factors.unshuffle
    )
    alphas = noise_schedule(factors.schedule, factors.timesteps)
    optimizer = torch.optim.AdamW(net.parameters(), lr=factors.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, factors.learning_rate, total_steps=factors.steps
    )
    while True:
        chosen = torch.randint(len(clean), (factors.batch,))
        times = torch.randint(factors.timesteps, (factors.batch,))
        noise = torch.randn(clean[chosen].shape)
        a = alphas[times].view(-1, 1, 1, 1)
        loss = F.mse_loss(net(a.sqrt() * clean[chosen] + (1 - a).sqrt() * noise, times).sample, noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 0.005)
        loss.item()
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    factors = Factors(steps=(rounds + 2) * STEPS + 1)
    images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 1), np.uint8)
    trainer = Trainer(factors, images, None, 0, (0,))
    loop = plain_loop(factors, images, (16, 16, 1))
    seconds: dict[str, list[float]] = {"study": [], "plain": []}
    for turn in range(rounds + 1):
        for name in ("study", "plain") if turn % 2 else ("plain", "study"):
            before = time.process_time()
            if name == "study":
                trainer.run(STEPS)
            else:
                for _ in range(STEPS):
                    next(loop)
            if turn:  # the first turn warms up
                seconds[name].append((time.process_time() - before) / STEPS)
    ratios = [p / s for p, s in zip(seconds["plain"], seconds["study"], strict=True)]
    medians = {name: round(float(np.median(values)), 5) for name, values in seconds.items()}
    print(json.dumps({**medians, "speed": round(float(np.median(ratios)), 4), "rounds": rounds}))


if __name__ == "__main__":
    main()
