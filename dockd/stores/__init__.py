"""Evidence stores: where recordings go, and are read back from before anybody believes it."""
