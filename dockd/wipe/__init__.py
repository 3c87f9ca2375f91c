"""The wipe: whether a recording may be deleted from its device, and the only code that does it."""
