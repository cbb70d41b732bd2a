"""Country codes: the one table that turns what claims, records and databases write into one canonical code.

ISO 3166-1 alpha-2 where there is one; else the ICAO Doc 9303 part 3 section 5 code, kept as its own value. `HK`, `MO` and
`TW` are their own codes; the British variants (`GBO`, …) are not `GB`; formerly used codes stay as given (NATIONALITY.md).
"""

from collections.abc import Iterable

_ISO = """\
AD AND Andorra
AE ARE United Arab Emirates
AF AFG Afghanistan
AG ATG Antigua and Barbuda
AI AIA Anguilla
AL ALB Albania
AM ARM Armenia
AO AGO Angola
AQ ATA Antarctica
AR ARG Argentina
AS ASM American Samoa
AT AUT Austria
AU AUS Australia
AW ABW Aruba
AX ALA Åland Islands | Aland Islands
AZ AZE Azerbaijan
BA BIH Bosnia and Herzegovina
BB BRB Barbados
BD BGD Bangladesh
BE BEL Belgium
BF BFA Burkina Faso
BG BGR Bulgaria
BH BHR Bahrain
BI BDI Burundi
BJ BEN Benin
BL BLM Saint Barthélemy | Saint Barthelemy
BM BMU Bermuda
BN BRN Brunei | Brunei Darussalam
BO BOL Bolivia | Bolivia, Plurinational State of | Plurinational State of Bolivia
BQ BES Bonaire, Sint Eustatius and Saba
BR BRA Brazil
BS BHS Bahamas | The Bahamas
BT BTN Bhutan
BV BVT Bouvet Island
BW BWA Botswana
BY BLR Belarus
BZ BLZ Belize
CA CAN Canada
CC CCK Cocos (Keeling) Islands
CD COD Democratic Republic of the Congo | Congo, The Democratic Republic of the | DR Congo
CF CAF Central African Republic
CG COG Congo | Republic of the Congo
CH CHE Switzerland
CI CIV Côte d'Ivoire | Ivory Coast | Cote d'Ivoire
CK COK Cook Islands
CL CHL Chile
CM CMR Cameroon
CN CHN China | People's Republic of China
CO COL Colombia
CR CRI Costa Rica
CU CUB Cuba
CV CPV Cabo Verde | Cape Verde
CW CUW Curaçao | Curacao
CX CXR Christmas Island
CY CYP Cyprus
CZ CZE Czechia | Czech Republic
DE DEU Germany
DJ DJI Djibouti
DK DNK Denmark
DM DMA Dominica
DO DOM Dominican Republic
DZ DZA Algeria
EC ECU Ecuador
EE EST Estonia
EG EGY Egypt
EH ESH Western Sahara
ER ERI Eritrea
ES ESP Spain
ET ETH Ethiopia
FI FIN Finland
FJ FJI Fiji
FK FLK Falkland Islands | Falkland Islands (Malvinas)
FM FSM Micronesia | Micronesia, Federated States of
FO FRO Faroe Islands
FR FRA France
GA GAB Gabon
GB GBR United Kingdom | Great Britain
GD GRD Grenada
GE GEO Georgia
GF GUF French Guiana
GG GGY Guernsey
GH GHA Ghana
GI GIB Gibraltar
GL GRL Greenland
GM GMB Gambia | The Gambia
GN GIN Guinea
GP GLP Guadeloupe
GQ GNQ Equatorial Guinea
GR GRC Greece
GS SGS South Georgia and the South Sandwich Islands
GT GTM Guatemala
GU GUM Guam
GW GNB Guinea-Bissau
GY GUY Guyana
HK HKG Hong Kong
HM HMD Heard Island and McDonald Islands
HN HND Honduras
HR HRV Croatia
HT HTI Haiti
HU HUN Hungary
ID IDN Indonesia
IE IRL Ireland
IL ISR Israel
IM IMN Isle of Man
IN IND India
IO IOT British Indian Ocean Territory
IQ IRQ Iraq
IR IRN Iran | Iran, Islamic Republic of | Islamic Republic of Iran
IS ISL Iceland
IT ITA Italy
JE JEY Jersey
JM JAM Jamaica
JO JOR Jordan
JP JPN Japan
KE KEN Kenya
KG KGZ Kyrgyzstan
KH KHM Cambodia
KI KIR Kiribati
KM COM Comoros
KN KNA Saint Kitts and Nevis
KP PRK North Korea | Korea, Democratic People's Republic of | Democratic People's Republic of Korea
KR KOR South Korea | Korea, Republic of | Republic of Korea
KW KWT Kuwait
KY CYM Cayman Islands
KZ KAZ Kazakhstan
LA LAO Laos | Lao People's Democratic Republic
LB LBN Lebanon
LC LCA Saint Lucia
LI LIE Liechtenstein
LK LKA Sri Lanka
LR LBR Liberia
LS LSO Lesotho
LT LTU Lithuania
LU LUX Luxembourg
LV LVA Latvia
LY LBY Libya
MA MAR Morocco
MC MCO Monaco
MD MDA Moldova | Moldova, Republic of | Republic of Moldova
ME MNE Montenegro
MF MAF Saint Martin | Saint Martin (French part)
MG MDG Madagascar
MH MHL Marshall Islands
MK MKD North Macedonia | Macedonia
ML MLI Mali
MM MMR Myanmar | Burma
MN MNG Mongolia
MO MAC Macao | Macau
MP MNP Northern Mariana Islands
MQ MTQ Martinique
MR MRT Mauritania
MS MSR Montserrat
MT MLT Malta
MU MUS Mauritius
MV MDV Maldives
MW MWI Malawi
MX MEX Mexico
MY MYS Malaysia
MZ MOZ Mozambique
NA NAM Namibia
NC NCL New Caledonia
NE NER Niger
NF NFK Norfolk Island
NG NGA Nigeria
NI NIC Nicaragua
NL NLD Netherlands | The Netherlands
NO NOR Norway
NP NPL Nepal
NR NRU Nauru
NU NIU Niue
NZ NZL New Zealand
OM OMN Oman
PA PAN Panama
PE PER Peru
PF PYF French Polynesia
PG PNG Papua New Guinea
PH PHL Philippines | The Philippines
PK PAK Pakistan
PL POL Poland
PM SPM Saint Pierre and Miquelon
PN PCN Pitcairn
PR PRI Puerto Rico
PS PSE Palestine | Palestine, State of
PT PRT Portugal
PW PLW Palau
PY PRY Paraguay
QA QAT Qatar
RE REU Réunion | Reunion
RO ROU Romania
RS SRB Serbia
RU RUS Russia | Russian Federation
RW RWA Rwanda
SA SAU Saudi Arabia
SB SLB Solomon Islands
SC SYC Seychelles
SD SDN Sudan
SE SWE Sweden
SG SGP Singapore
SH SHN Saint Helena, Ascension and Tristan da Cunha | Saint Helena
SI SVN Slovenia
SJ SJM Svalbard and Jan Mayen
SK SVK Slovakia
SL SLE Sierra Leone
SM SMR San Marino
SN SEN Senegal
SO SOM Somalia
SR SUR Suriname
SS SSD South Sudan
ST STP Sao Tome and Principe | São Tomé and Príncipe
SV SLV El Salvador
SX SXM Sint Maarten | Sint Maarten (Dutch part)
SY SYR Syria | Syrian Arab Republic
SZ SWZ Eswatini | Swaziland
TC TCA Turks and Caicos Islands
TD TCD Chad
TF ATF French Southern Territories
TG TGO Togo
TH THA Thailand
TJ TJK Tajikistan
TK TKL Tokelau
TL TLS Timor-Leste | East Timor
TM TKM Turkmenistan
TN TUN Tunisia
TO TON Tonga
TR TUR Türkiye | Turkey | Turkiye
TT TTO Trinidad and Tobago
TV TUV Tuvalu
TW TWN Taiwan | Taiwan, Province of China
TZ TZA Tanzania | Tanzania, United Republic of | United Republic of Tanzania
UA UKR Ukraine
UG UGA Uganda
UM UMI United States Minor Outlying Islands
US USA United States | United States of America
UY URY Uruguay
UZ UZB Uzbekistan
VA VAT Holy See | Holy See (Vatican City State) | Vatican City
VC VCT Saint Vincent and the Grenadines
VE VEN Venezuela | Venezuela, Bolivarian Republic of | Bolivarian Republic of Venezuela
VG VGB British Virgin Islands | Virgin Islands, British
VI VIR US Virgin Islands | Virgin Islands, U.S.
VN VNM Vietnam | Viet Nam
VU VUT Vanuatu
WF WLF Wallis and Futuna
WS WSM Samoa
YE YEM Yemen
YT MYT Mayotte
ZA ZAF South Africa
ZM ZMB Zambia
ZW ZWE Zimbabwe
"""

# What ISO 3166-1 does not list and passports, records or databases do. No shipped country group names them, save that
# the British variants follow GB (groups.py).
_OTHERS = """\
XK XKX Kosovo
GBD GBD British Overseas Territories citizen
GBN GBN British National (Overseas)
GBO GBO British Overseas citizen
GBP GBP British protected person
GBS GBS British subject
XXA XXA stateless person
XXB XXB refugee, 1951 Convention
XXC XXC refugee, other
UNO UNO United Nations Organization
UNA UNA United Nations specialized agency
UNK UNK United Nations mission in Kosovo
EUE EUE European Union laissez-passer
XOM XOM Sovereign Military Order of Malta
XPO XPO Interpol
SU SUN Soviet Union | USSR
YU YUG Yugoslavia
CS SCG Serbia and Montenegro
DD DDR German Democratic Republic
"""

# Second spellings: ICAO's D and RKS, ISO's exceptional reservation UK, the European Union's EL.
_ALIASES = {"D": "DE", "RKS": "XK", "UK": "GB", "EL": "GR", "CSK": "CS"}

BRITISH_VARIANTS = ("GBD", "GBN", "GBO", "GBP", "GBS")

_codes: dict[str, str] = dict(_ALIASES)
_names: dict[str, str] = {}
NAMES: dict[str, str] = {}  # canonical code -> English short name
for _row in (_ISO + _OTHERS).splitlines():
    _code, _alpha3, _spellings = _row.split(" ", 2)
    _codes[_code] = _codes[_alpha3] = _code
    NAMES[_code] = _spellings.split(" | ")[0]
    _names.update((_name.casefold(), _code) for _name in _spellings.split(" | "))

ALL_CODES: tuple[str, ...] = tuple(sorted(NAMES))
BIT: dict[str, int] = {code: 1 << position for position, code in enumerate(ALL_CODES)}
UNIVERSE: int = (1 << len(ALL_CODES)) - 1


def canonical(text: str) -> str | None:
    """The canonical code for a code or an English short name, whatever its case; None where it cannot be read.

    `XXX` (ICAO: unspecified nationality) says nothing and is not a value. Codes must be ASCII: case mapping would turn
    `ß` into South Sudan and a ligature into Finland.
    """
    trimmed = text.strip()
    if trimmed.isascii():
        code = _codes.get(trimmed.upper())
        if code is not None:
            return code
    return _names.get(trimmed.casefold())


def mask(codes: Iterable[str]) -> int:
    """The set of canonical `codes` as bits. KeyError where one is not canonical."""
    bits = 0
    for code in codes:
        bits |= BIT[code]
    return bits
