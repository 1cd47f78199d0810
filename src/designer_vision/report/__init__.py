"""What people look at after a run: pictures, tables, and one page with all of them."""
