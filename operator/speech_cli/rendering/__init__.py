"""Job documents and progress into words: pure, so that every table row is tested without a process."""
