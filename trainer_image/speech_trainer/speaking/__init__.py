"""What an exported voice says: behind `speechtrain speak`, which knows no recipe."""
