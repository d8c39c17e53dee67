"""What the demo tools of both frameworks share: the files of a command line, and a picture or video for each.

Needs Pillow, OpenCV and tqdm, which come with either framework.
"""
