"""API keys that are verified next to the caller, revoked provably, and watched."""
