"""Does FFC help? Paired trainings on the mini dataset, their controls, and what can be made of one checkpoint.

The data flow: ``plan.py`` lists the runs; ``__main__.py`` makes them, two processes side by side, each in a folder of
its own (``folders.py``); ``train_detection.py`` and ``train_segmentation.py`` train a run with the frameworks' own
trainers and keep the logits of every stage on held-out images (``dump.pt``); ``score_detection.py`` and
``score_segmentation.py`` reduce those in every way that is compared and score them with the official evaluators;
``report.py`` pairs the runs by seed and writes docs/EVIDENCE.md. The heads that are compared are in ``variants.py``.
"""
