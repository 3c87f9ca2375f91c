"""Telling a running daemon what to do: the commands, and the two ways in which they come."""
