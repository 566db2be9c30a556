"""A plan as one HTML file with images: before and after of every changed shape, new images, replaced images.

The file needs no network and no script, so it can be attached to a pull request and opened from disk. Owns: which
images are shown, how they are drawn, and the bound on the size of the file. Must not: make a plan or call a lake. It
gets images through `ImageFile` and everything else as values. Needs Jinja2 and Pillow, an optional extra.
"""
