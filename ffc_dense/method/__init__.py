"""The paper's method, on torch alone.

``options`` states every option, ``filtering`` is the chain, ``classifier`` is what the two ``layers`` share, ``voting``
is the vote. ``attaching`` puts them into any model, ``reductions`` tests a model under each reduction. ``literal`` is
the naive implementation that tests and benchmarks compare with; ``fast`` computes the same with less memory and time.
"""
