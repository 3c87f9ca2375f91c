"""USB: what is plugged in where, how it is mounted, and who may write to it."""
