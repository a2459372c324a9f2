"""A local page for trying a model on a picture or a drawing, with its prediction and the nearest training images."""
