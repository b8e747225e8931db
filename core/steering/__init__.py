"""Edits of SAE features and directions while the model runs, with the SAE's error kept."""

from core.steering.apply import edit_hooks
from core.steering.edits import Direction, Edit
from core.steering.record import EditRecord

__all__ = ["Direction", "Edit", "EditRecord", "edit_hooks"]
