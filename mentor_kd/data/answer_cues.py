"""Cues: words and signs that announce an answer, in English and other common languages.

Patterns do not backtrack, so no text takes long: classes are possessive (`\\s*+`), groups atomic (possessive groups are
broken before Python 3.11.5), and lazy ones bounded.
"""

import re

from .answer_text import CJK

_QUALITY = r"(?:final|correct|right|best|overall)\s++"
_IS = r"""(?:(?:is|was|equals|becomes|(?:would|should|will|must|could|may|might|has\sto)\s++(?:\w++\s)?be
    |(?:seems|appears)\s++to\s++be|comes\s++(?:out\s++)?to(?:\s++be)?)\b"""
CUE = re.compile(
    rf"""(?<![^\W_{CJK}])(?:(?:answer|ans|{_QUALITY}(?:answer|choice|option|letter|one|word|pick))["'*_`]*+\s*+
        (?:(?:to|for|of|in|here|that|which|we|i|you|from|there)\b[^.!?:\n=0-9]{{0,60}}?\s(?:(?<=question\s|.problem\s)\#?[0-9]{{1,3}}\s)?)?
        |{_QUALITY}(?:result|number|date|total|value|solution)["'*_`]*+\s*+)
      (?:\([^()\n]{{0,40}}+\)\s*+)?(?:,\s[^,.\n]{{1,20}},\s)?
      (?:(?:then|therefore|thus|so|hence|also|still|now|clearly|simply|indeed|just)\s)?
      (?:{_IS}|(?P<colon>:|-++>|→|(?<=\s)[-–—](?=\s))|=))
    |^[\s\#*_>]{{0,8}}+(?:the\s|final\s|correct\s){{0,2}}answer[ \t*_]*+$
    |(?<![^\W_{CJK}])(?:r[ée]ponse|respuesta|resposta|risposta|antwoord|antwort|ergebnis|lösung|solución|odpowied[zź]|odpověď
        |cevap|svar|vastaus|válasz|răspuns(?:ul)?|jawaban(?:nya)?|ответ|відповідь|đáp\s(?:án|số)|απάντηση|תשובה|الإجابة|الجواب|پاسخ
        |उत्तर|উত্তর|คำตอบ(?:ที่ถูกต้อง)?|câu\strả\slời|(?:opción|opção|alternativa)\scorre(?:c?ta)|(?:верный|правильный)\sвариант)
      (?:\s(?:finale?|correcta|correta|correcte|corretta|richtige|yang\sbenar|đúng|cuối\scùng|akhir|الصحيحة|النهائية|सही)){{0,2}}
      \s?(?::|=|—|(?:est|es|é|è|ist|lautet|is|är|er|on|este|là|adalah|هي|هو|है)\b|คือ)
    |(?:答案|正解|答え|정답)(?:\s?(?:应该|應該)?(?:是|为|為|は|은|는|이|가)\s?:?|\]?\s?:|\]|\s|(?=["'(*A-Za-z0-9]))|(?:答|답)\s?(?::|은|는)
    |(?:(?:选项|選項|应该|應該)是|故选|故選|应选|應選|选择|選擇|选|選)\s*:?\s*(?=[("'*]{{0,4}}[A-Za-z])
    |<(?:final[_-]?)?(?:answer|ans)>|(?P<boxed>\\f?boxed\s?\{{)|(?P<hashes>\#\#\#\#)
    |(?P<reverse>(?<!\bthis\s)(?<!\bthat\s)(?<!\bwhich\s)(?<!\bwhat\s)(?<!\bit\s)\b(?:is|was)\s(?:thus\s|therefore\s|then\s)?
      (?:the|our|my|your)\s(?:(?:final|correct|right|best|only)\s){{0,2}}
      (?:answer|choice|option|result|one|letter|solution)\b(?!\s(?:to|for|of)\b[^.!?\n]*\?))""",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
NOT_OWN = re.compile(
    r"(?:\b(?:wrong|incorrect|mistaken|false|tempting|naive|erroneous|invalid)|['’]s)\s\Z", re.IGNORECASE
)

TOTAL = re.compile(r"\b(?:result|total|sum|conclusion)\b\s?(?:is|was|equals|:|=)", re.IGNORECASE)
GOES_ON = re.compile(  # what follows a total may be the conclusion
    r"=|\b(?:so|therefore|thus|hence|then|each|every|per|left|remain\w*|gets?|makes?|gives?|pays?|costs?|needs?|must|total|"
    r"altogether|all|now|finally|ha[sd]|have|will|would)\b",
    re.IGNORECASE,
)
WEAK = re.compile(  # within a sentence: what follows is the answer
    r"""\b(?:i|we)(?:['’](?:d|ll|m)|\s(?:would|will|must|can|am|have\sto))?\s(?:\w+ly\s)?(?:choose|pick|select|go\s(?:with|for)
      |say|guess|conclude|answer|(?:think|believe)\s(?:that\s)?it(?:['’]s|\sis))\b
    |\b(?:it|this|that)\s(?:must|has\sto|should|can\sonly)\sbe\b|\b(?:must|has\sto)\sbe(?=\s\W?(?-i:[A-Z])\b(?!\s?[=+]))|\bi\smeant\b
    |,\s(?:but\s)?(?:rather\s)?it\sis\b|\bnot\s(?!only\b)[^.!?\n]{1,40}?\bbut\b|\b(?:option|choice|guess|fit|match)\b[^.!?\n]{0,25}?\sis\b|\b(?:corresponds|matches|points|lean(?:ing)?)\s(?:to|towards?)\b
    |\bguess:|\bmy\s(?:choice|pick|selection|guess)(?:\sis\b|:)|\b(?:selected|correct|final|verdict|conclusion|decision|choice)(?:\soption)?:
    |\b(?:going\swith|it['’]s|choose|select|pick|which\sleaves(?=\s\W?(?-i:[A-Z])\b))\b""",
    re.IGNORECASE | re.VERBOSE,
)
RETRACTED = re.compile(  # retracts what precedes it
    r"""(?:(?<=[.!?\n])|(?<=\.\s)|(?<=[!?]\s)|(?<=[-–—]\s)|(?<=,\s)|(?<=\()|\A)\s{0,3}(?:(?:oh|but|hmm|hm|and|well)\b[,\s.]{0,4}){0,3}
    (?:(?P<strong>wait\b|scratch\sthat|correction\b|oops|sorry|my\smistake|(?:oh\s)?no[,.;]|on\ssecond\sthought|i\s(?:made|was\swrong)
      |(?:actually,?\s)?(?:that|this|it)(?:['’]s|\sis|\swas)\s(?:\w+ly\s)?(?:wrong|incorrect|a\smistake|not\s(?:right|correct))\b)
      |actually\b)""",
    re.IGNORECASE | re.VERBOSE,
)
# No statement about the question: "Would you like to see the 2 steps?", "Let me know if you need more."
ASIDE = re.compile(
    r"""[\s*_#>"'(]*(?:(?:so|and|but|or|now)[,\s]+)?(?:
    (?:is|are|was|were|do|does|did|would|could|can|should|will|may|shall|what|how|which|who|why|when|where)\b[^?\n]{0,300}\?
    |(?:please\s)?(?:let\sme\sknow|feel\sfree)\b|hope\sthis|i\shope\s(?:this|that))""",
    re.IGNORECASE | re.VERBOSE,
)
EXPLAINED = re.compile(  # the answer in the first line, then reasons
    r"\s*([^\n]{1,80})\n\s*[*_#]{0,4}\s?(?:explanation|reasoning|reason|rationale|justification|note|verification)\b",
    re.IGNORECASE,
)
FILLER = re.compile(
    r"(?>(?:[\W_]|\b(?:that|it|is|would|be|therefore|thus|so|hence|exactly|about|approximately|approx|probably|possibly|"
    r"likely|most|well|ok|okay|oh|then|definitely|certainly|clearly|surely|obviously|simply|just|only|"
    r"c'est|(?:the\s)?(?:letter|option|choice)|in conclusion|in short|in summary|overall|finally)\b)*)",
    re.IGNORECASE,
)
