"""Full VITS fine-tuning and training from scratch: `spec.recipe.vits`."""
