"""The voice-cloning recipe: a language model over codes speaks a text in the voice of a reference."""
