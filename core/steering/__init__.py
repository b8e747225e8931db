"""Edits of SAE features while the model runs, with the SAE's error kept."""

from core.steering.apply import edit_hooks
from core.steering.edits import Edit
from core.steering.record import EditRecord

__all__ = ["Edit", "EditRecord", "edit_hooks"]
