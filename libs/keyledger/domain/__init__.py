"""Facts and decisions about keys, people, roles and organizations. No I/O, no clock, no randomness."""
