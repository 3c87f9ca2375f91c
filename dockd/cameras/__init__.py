"""Cameras: whatever recordings are read from, and deleted on after the gate was passed."""
