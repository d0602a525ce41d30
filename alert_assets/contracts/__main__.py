"""Write the models' columns down: `python -m alert_assets.contracts`."""

from alert_assets.contracts import ALL_CONTRACTS
from alert_assets.contracts.columns import FILE, written_down

FILE.write_text(written_down(ALL_CONTRACTS.values()), encoding="utf-8", newline="\n")
