"""The engine: the loop, the gate, checkpoints, roll-back. It knows no recipe."""
