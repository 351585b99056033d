"""What a process needs around its work: settings, clock, ids, peppers, logging, metrics, a graceful stop."""
