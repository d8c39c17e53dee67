"""Does FFC help? Paired trainings on the mini dataset, their controls, and what can be made of one checkpoint.

The data flow: ``plan.py`` lists the runs; ``__main__.py`` makes them, two processes side by side, each in a folder of
its own (``folders.py``). ``train_{detection,segmentation,classification}.py`` train a run with the frameworks' own
trainers and keep the logits of every stage on held-out and test images (``dump.pt``). ``score_*.py`` reduce those in
every way that is compared (``box_scores.py``) and score them with the
official evaluators; ``select_outputs.py`` adds the learned selectors (``selectors.py``). ``record.py`` collects all
scores; ``report.py`` pairs the runs by seed (``comparisons.py``) and fills docs/background/evidence.md with
``tables.py`` and ``plots.py``. The heads that are compared are in ``variants.py``.
"""
