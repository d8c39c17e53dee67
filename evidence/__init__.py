"""Does FFC help? Paired trainings on the mini dataset, their controls, and every test mode of one checkpoint.

The data flow: ``plan.py`` lists the runs; ``__main__.py`` makes them, two processes at a time, each in its own folder
(``folders.py``). ``train_{detection,segmentation,classification}.py`` train a run with the frameworks' own trainers
and keep the logits of every stage on held-out and test images (``dump.pt``). ``score_*.py`` apply every test mode that
is compared (``box_scores.py``) and score the results with the official evaluators; ``select_outputs.py`` adds the
learned selectors (``selectors.py``). ``record.py`` collects all scores; ``report.py`` pairs the runs by seed
(``comparisons.py``) and fills docs/background/evidence.md and evidence-tables.md with ``tables.py`` and ``plots.py``.
``variants.py`` holds the classifiers that are compared.
"""
