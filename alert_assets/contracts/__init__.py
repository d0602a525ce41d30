"""What a row of each table must look like, who owns it, and how it is identified.

:data:`CONTRACTS` is light: it imports neither Spark nor pandera, so that the command line and the
sensors stay quick. A contract's pandera model is loaded when :attr:`Contract.model` is first asked for.
"""

from alert_assets.contracts.catalog import *  # noqa: F403  every contract, without a second list of them
