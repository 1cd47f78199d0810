"""What flows between components: one file a format, its reader beside its writer."""
