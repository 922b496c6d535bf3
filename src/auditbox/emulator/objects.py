"""The platform's object types by the prefix of their ids (contract, section 5)."""

from __future__ import annotations

import re

OBJECT_ID = re.compile(r"([A-Z]{3,4})(?:-\d{4})+", re.ASCII)

_TYPES = """
ACC Account, BUY Buyer, SEL Seller, LCE Licensee, USR User, AUSR AccountUser, UGR UserGroup, TKN ApiToken,
MOD Module, ERP ErpLink, CLT CloudTenant, SVC Service,
PRD Product, ITM Item, IGR ItemGroup, PGR ParameterGroup, PAR Parameter, MED Media, PDC Document,
DOC Document,
TCS Terms, TCV TermsVariant, TPL Template, PRC PriceList, PRI PriceListItem, LST Listing, AUT Authorization,
UNT UnitOfMeasure, PRP PricingPolicy, PPA PricingPolicyAttachment,
AGR Agreement, ORD Order, SUB Subscription, REQ Request, ALI Line, AST Asset, SBA SplitBillingAllocation,
SBS SplitBilling, ATT Attachment,
BJO Journal, JOA JournalAttachment, CHG Charge, BLE Ledger, LEA LedgerAttachment, CLE CustomLedger,
CLA CustomLedgerAttachment, SOM Statement, INV Invoice, INL InvoiceLine, CRD CreditMemo, CRL CreditMemoLine,
BOV Override, CUR Currency, FXP Pair, FXR Rate,
EXT Extension, EXC Category, EDM Document, EXM Media, ETC Term, ETV TermVariant, INS Instance,
EXI Installation,
WBH Webhook, NTC Category, CTT Contact, MST Batch, MSG Message, NTS Subscriber,
PRG Program, PPG ParameterGroup, PPM Parameter, PMD Media, PDM Document, PTC Terms, PTV TermsVariant,
PTM Template, CER Certificate, ENR Enrollment, ENA EnrollmentAttachment,
CHT Chat, CHL Channel, SPO Spotlight, SPQ SpotlightQuery, AUD AuditRecord, AET AuditEventType
"""

OBJECT_TYPES: dict[str, str] = dict(entry.split() for entry in _TYPES.replace("\n", " ").split(",") if entry)


def object_type(id: object) -> str | None:
    """The type of the object with this id; None where the form or the prefix is unknown."""
    found = OBJECT_ID.fullmatch(id) if isinstance(id, str) else None
    return OBJECT_TYPES.get(found.group(1)) if found else None
