"""Hypothesis without deadlines, for a busy machine is no defect; failures say how to repeat them."""

from hypothesis import settings

settings.register_profile("dockd", deadline=None, print_blob=True)
settings.load_profile("dockd")
