"""Recipes: one way to train each. They know the engine's protocol and never each other."""
