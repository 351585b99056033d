"""What a process needs around its work: settings, clock, randomness, masters, logging, metrics, a graceful stop."""
