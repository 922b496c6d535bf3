"""What the API leaves out of ``documents``, whoever put it there (contract, section 3, rule 10).

Credentials are masked for everybody. Prices are absent for those who may not know them: the sales side for
vendors and clients, the purchase side for clients too. That holds inside the platform's own objects.
"""

from __future__ import annotations

CREDENTIALS = {"User": "password", "ApiToken": "token"}
"""The property that is masked, by the type of the object."""

SALES_PRICES = frozenset({"SPxY", "SPxM", "SPx1", "unitSP", "markup", "margin", "defaultMarkup"})
PURCHASE_PRICES = frozenset({"PPxY", "PPxM", "PPx1", "unitPP"})

PRICES_HIDDEN_FROM = {"Vendor": SALES_PRICES, "Client": SALES_PRICES | PURCHASE_PRICES}
"""The properties that are absent, by the type of the account that reads; Operations sees all."""
