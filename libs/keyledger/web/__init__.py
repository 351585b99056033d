"""What every HTTP service shares: problems, idempotency, position tokens, authentication, health."""
