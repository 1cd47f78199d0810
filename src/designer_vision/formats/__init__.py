"""What flows between components: the folder formats, reader beside writer."""
