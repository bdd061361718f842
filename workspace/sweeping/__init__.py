"""What beat asks for every few seconds: mend what no live process will. One module for each kind of loss."""

from workspace.sweeping.sweeper import Sweeper

__all__ = ["Sweeper"]
