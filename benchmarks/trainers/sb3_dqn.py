"""Stable-Baselines3: the tables that its logger prints, a DQN on the pole that must not fall."""

import gymnasium
import planted
import stable_baselines3.dqn.dqn as dqn
import torch
from stable_baselines3 import DQN

torch.set_num_threads(1)
smooth = dqn.F.smooth_l1_loss
dqn.F.smooth_l1_loss = lambda *inputs, **given: planted.poisoned(smooth(*inputs, **given))
model = DQN("MlpPolicy", gymnasium.make("CartPole-v1"), learning_starts=50, verbose=1, seed=0)
model.learn(planted.STEPS * 8, log_interval=1)
