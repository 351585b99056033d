"""How Keyledger is run: on this machine (`infra.local`) and elsewhere (the files beside it)."""
