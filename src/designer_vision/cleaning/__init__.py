"""What is odd about images and their labels: how pictures look, which are alike, which labels are probably wrong."""
