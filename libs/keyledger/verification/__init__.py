"""Is this key good for this request? Usable in any Python process: needs msgspec and lmdb only."""
