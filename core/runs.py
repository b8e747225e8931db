"""The run folder, under its name of core.run."""

from core.run import *  # noqa: F403
