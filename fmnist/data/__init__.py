"""Sources of images, and the splits that each stage may see."""
