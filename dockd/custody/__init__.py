"""Chain of custody: what a record is, how records hang together, and how that is checked."""
