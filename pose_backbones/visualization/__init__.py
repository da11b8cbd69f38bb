"""Drawing of poses, shared by inference and the report."""
