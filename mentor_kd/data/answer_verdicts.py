"""Answers to yes-no questions, by the same rules for yes and no."""

import re

from .answer_text import AROUND, LETTER, Candidate
from .answer_words import COPULA, JOINED

# "No" is a verdict before punctuation and before these words; before others it may be a determiner ("no dog").
_FUNCTION_WORDS = """yes no this that these those there here it he she they we you i the a an not never indeed because
since and or but as for in at to if unless although though while whereas when is are was were do does did can could
would will should must has have had only all both some most many each my his her its our their on absolutely
definitely certainly clearly probably actually according given based so then thus therefore hence with without by
from under after before even however unfortunately sorry thanks oh well hmm wait ok okay""".split()
_WORD = r"(?:yes|yeah|yep|yup|no|nope|nah|true|false|correct|incorrect)"
# Words of other languages, and English ones with other meanings; they count only if nothing else is stated.
_OUI = "oui|ja|sí|si|sì|sim|да|tak|evet|có|ya|ναι|כן|हाँ|हां|نعم|بله|是的?|对|對|正确|正確|はい|네|예|affirmative"
_NON = (
    "non|nein|nee|nej|não|нет|ні|nie|hayır|không|tidak|όχι|לא|नहीं|لا|خیر|否|不是|不对|不對|不正确|不正確|错误|錯誤|错|錯"
    "|いいえ|아니요|아니오|negative"
)
_VERDICT = re.compile(
    rf"""(?<!{LETTER})(?<!{LETTER}')(?<!-)(?:(?P<yes>yes|yeah|yep|yup)
    |(?P<no>nope|nah|no(?!(?:\s+(?!(?:{"|".join(_FUNCTION_WORDS)})\b){LETTER}|-{LETTER}|\.\s?[0-9]|\s\#?[0-9])))
    |(?P<true>true)|(?P<false>false)|(?P<right>correct)|(?P<wrong>incorrect)|(?P<oui>{_OUI})|(?P<non>{_NON}))
    (?!{LETTER})(?!'\w)
    (?!["')*]*\?|["')*]*\s?(?:or|/)\s?["'(*]*{_WORD}["')*]*[?:])            # "Yes?", "Yes or no?"
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SAID_OF = re.compile(  # a statement is true, this is false
    r"""\b(?:statement|claim|sentence|proposition|assertion|this|that|it|answer)\s(?:"[^"\n]{0,200}"\s|'[^'\n]{0,200}'\s)?
    (?:is|was|must\sbe|would\sbe|seems)\s(?:\w+ly\s|not\s|also\s|thus\s|therefore\s)?["'“*]*\Z""",
    re.VERBOSE | re.IGNORECASE,
)
_THAT = re.compile(r"\s+that\b")  # "it is true that ..., but" concedes a point
_CLOSING = re.compile(
    r"""(?:[,;:—–(-]|\b(?:think|so|thus|therefore|hence|is|be|a|an|say|answer|definitely|clearly|probably|with|and|but))[\s"'“*_(]*\Z""",
    re.IGNORECASE,
)
_OTHER = re.compile(r"\bboth\s(yes|no)\s(?:and|or)\s[\"'*]*\Z", re.IGNORECASE)
_STOP = re.compile(rf"""["'”’)*}}\]]*(?:{COPULA}|[.,;:!/—–-]|\s[-—–]|\s*\n|\s*\Z)""")


def verdicts(text: str, start: int, end: int, lead: int, stated: bool) -> list[Candidate]:
    """Yes, no and their synonyms used as a verdict: "no, it is", but not "no doubt" or "a true story".

    Unless an answer is `stated` here, a verdict must begin or end the sentence, or describe a statement ("this is true
    because ..."). Words of other languages count only if nothing else is stated.
    """
    found: list[Candidate] = []
    for match in _VERDICT.finditer(text, start, end):
        first, last, kind = *match.span(), match.lastgroup
        opens, closes = first <= lead, not text[last:end].strip(AROUND)
        joined = bool(found) and JOINED.fullmatch(text, found[-1].end, first) is not None
        if kind in ("yes", "no"):
            counts = stated or opens or joined or (closes and _CLOSING.search(text[max(start, first - 20) : first]))
        elif kind in ("oui", "non"):
            counts = opens and _STOP.match(text, last, end)
        else:
            said = _SAID_OF.search(text[max(start, first - 260) : first]) and not _THAT.match(text, last)
            counts = (said and (stated or not text[end:].strip(AROUND))) or (closes and opens)
            if kind in ("true", "false"):
                counts = counts or closes or ((stated or opens) and _STOP.match(text, last, end))
        if counts and not found and (other := _OTHER.search(text, max(start, first - 20), first)):
            found.append(Candidate("Yes" if other[1].lower() == "yes" else "No", *other.span(1)))  # "both yes and no"
        if counts:
            found.append(Candidate("Yes" if kind in ("yes", "true", "right", "oui") else "No", first, last))
    return found
