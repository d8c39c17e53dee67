"""Rules that keep a training safe, one per module, for every framework; the adapters apply them.

``saving``        complete files or none
``resuming``      the checkpoint that a training resumes from
``fitting``       whether a checkpoint can be evaluated with a model
``non_finite``    the reaction to a loss of NaN or infinity
``run_folder``    one training at a time in a folder
``preemption``    SIGTERM, which a cluster sends before it takes the machine, and Ctrl-C
``random_state``  the states of the random number generators, for an exact resumption
``jobs``          commands side by side, which continue after an interruption
``torchrun``      a launcher that keeps the exit code of the process that ended first

Nothing here imports a framework.
"""
