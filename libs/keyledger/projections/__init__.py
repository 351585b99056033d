"""Folds of the ledger into read models: version guard, checkpoint and order checks in one place."""
