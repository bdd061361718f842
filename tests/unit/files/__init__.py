"""The files of workspaces, on a real disk."""
