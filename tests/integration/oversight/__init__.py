"""What admins and owners see of workspaces, over rows and reports that a test made: no node touches them."""
