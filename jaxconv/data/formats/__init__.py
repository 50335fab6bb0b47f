"""Formats of image files: each lists images, labels and class names, and reads an image by its row."""
