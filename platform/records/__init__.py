"""Reading other people's records: logs, submission files and READMEs, and what of the one the others support.

A folder goes through ``folder.read`` (files to runs, printed figures and the runs that are claimed) and
``reconcile.reconcile`` (every printed figure against the logs). Nothing of a record is ever executed, memory is bounded
whatever a file holds, and text of a record is shown only through ``text.safe``.
"""
