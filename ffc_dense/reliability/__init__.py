"""What a training that must not be lost needs, whatever the framework: one rule each, which the adapters apply.

``saving``        files that are there as a whole or not at all
``resuming``      which checkpoint a training goes on from
``fitting``       whether a checkpoint may be evaluated with a model
``non_finite``    what a loss of NaN or infinity does
``run_folder``    one training at a time in a folder
``preemption``    SIGTERM, which a cluster sends before it takes the machine, and Ctrl-C
``random_state``  the generators' states, for an exact resume
``jobs``          command lines side by side, which go on where they were interrupted
``torchrun``      the launcher that keeps the exit code of the process that ended first

Nothing here imports a framework.
"""
