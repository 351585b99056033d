"""The ledger in one SQLite file (WAL, ``synchronous=FULL``).

Every batch is written between BEGIN IMMEDIATE and COMMIT, while nobody else can write; a reader sees a whole number of
committed transactions. So nobody can see n+1 before n. Several processes on one machine may write.
"""
