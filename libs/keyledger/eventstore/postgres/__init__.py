"""The ledger on Postgres.

Every batch is written under the lock on ``ledger_head``'s one row, held until its transaction has ended. Postgres makes
a transaction visible before it releases its locks, and position n+1 is given out under the lock only: so nobody, on
this server or on a replica of it, can see n+1 before n.
"""
