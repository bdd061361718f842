"""The files of workspaces, reached by directory descriptors only. `WorkspaceFiles` is the one door."""

from workspace.files.listing import Entry, EntryType, Listing
from workspace.files.marker import data_dir_id
from workspace.files.measuring import Usage
from workspace.files.owner import Owner
from workspace.files.reading import Content
from workspace.files.store import WorkspaceFiles
from workspace.files.writing import WriteMode, Written

__all__ = [
    "Content",
    "Entry",
    "EntryType",
    "Listing",
    "Owner",
    "Usage",
    "WorkspaceFiles",
    "WriteMode",
    "Written",
    "data_dir_id",
]
