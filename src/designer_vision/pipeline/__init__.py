"""A pipeline YAML, the same that Azure ML runs, on this machine."""
