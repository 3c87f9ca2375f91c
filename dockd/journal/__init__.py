"""The journal: what dockd knows, and the one log of how it came to know it.

SQLite in WAL mode with synchronous=FULL. One thread writes; `Transaction.move` changes a recording's state
and writes the record of it in one transaction, and nothing else does.
"""
