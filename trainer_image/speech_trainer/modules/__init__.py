"""Building blocks that several recipes share: alignment search, discriminators."""
