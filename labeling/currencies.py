"""The currencies of ISO 4217 that people can be paid in, and how finely each can be paid."""

from decimal import ROUND_DOWN, Decimal

_TWO = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP
CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR
KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN
PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD
TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW
"""
_NONE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"

# Decimal places by code.
PLACES = {code: places for places, codes in ((2, _TWO), (0, _NONE), (3, _THREE)) for code in codes.split()}


def payable(amount: Decimal, currency: str) -> Decimal:
    """The part of the amount that can be paid out in whole coins; what is left over stays on the balance."""
    return amount.quantize(Decimal(1).scaleb(-PLACES[currency]), rounding=ROUND_DOWN)
