"""Prompts and targets as token ids: what a model reads, and what it learns to write.

An encoder reads the question. A decoder reads it in one of two formats: `plain`, the question and a separator, or
`chat`, the question as the user's turn in the model's own chat template, up to where the reply begins. The same ids
are read in training, in generation and in `predict`.
"""

from transformers import PreTrainedTokenizerBase

from ..files import InputError

SEPARATOR = "\n###\n"  # between question and target in the plain format
PLAIN, CHAT, AUTO = "plain", "chat", "auto"
PROMPT_FORMATS = (AUTO, PLAIN, CHAT)


def prompt_format(
    name: str, tokenizer: PreTrainedTokenizerBase, encoder_decoder: bool, wanted: str, recorded: str
) -> str:
    """The format of a model's prompts: the one that is wanted, or for `auto` the recorded one of its training.

    A model without a record is asked in its chat template if it has one. Raises InputError for `chat` without one.
    """
    has_template = bool(tokenizer.chat_template) and not encoder_decoder
    if wanted == AUTO:
        return recorded or (CHAT if has_template else PLAIN)
    if wanted == CHAT and not has_template:
        why = "is an encoder-decoder" if encoder_decoder else "has no chat template"
        raise InputError(f"prompt_format is chat, but model {name!r} {why}; set it to plain or auto")
    return wanted


def prompt_text(
    tokenizer: PreTrainedTokenizerBase, encoder_decoder: bool, question: str, prompt_format: str = PLAIN
) -> str:
    """The model's input as text, with the special tokens of a chat template written out.

    A thinking model's template is asked for a reply without thoughts, as its training targets have none.
    """
    if prompt_format == CHAT:
        turn = [{"role": "user", "content": question}]
        return tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False, enable_thinking=False)
    return question if encoder_decoder else question + SEPARATOR


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, encoder_decoder: bool, question: str, prompt_format: str = PLAIN
) -> list[int]:
    """Token ids of the model's input; with EOS for an encoder.

    A decoder's tokenizer may add its BOS; an EOS that it adds is removed, because the text continues. A chat template
    has all special tokens itself.
    """
    text = prompt_text(tokenizer, encoder_decoder, question, prompt_format)
    ids = tokenizer(text, add_special_tokens=prompt_format != CHAT)["input_ids"]
    if not encoder_decoder and prompt_format != CHAT and ids and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    return ids


def served_prompt(tokenizer: PreTrainedTokenizerBase, question: str, prompt_format: str = PLAIN) -> str:
    """A decoder's input as text for a server, which adds the BOS itself if the tokenizer does."""
    text, added = prompt_text(tokenizer, False, question, prompt_format), tokenizer("")["input_ids"]
    if tokenizer.bos_token and added[:1] == [tokenizer.bos_token_id]:
        return text.removeprefix(tokenizer.bos_token)
    return text


def encode_target(tokenizer: PreTrainedTokenizerBase, target: str) -> list[int]:
    """Token ids of the target, with EOS; the same for both kinds of model, so that soft labels fit both."""
    return [*tokenizer(target, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Decode generated ids, without special tokens."""
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
