"""What FFC costs against the layers it replaces and against a naive implementation (``make bench``).

Shape shorthand: N images, C features, K classes, M outputs, n filters, h x w a feature map, H x W an image. Time is in
seconds and memory in bytes inside this package; only the tables convert them.
"""
