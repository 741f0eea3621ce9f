"""A tiny GGUF file of a Llama with a byte-level tokenizer, written with llama.cpp's own writer.

llama.cpp stores the query and key weights of a Llama in another order than transformers.
"""

import json
from pathlib import Path

import tiny
import torch
from gguf import GGUFWriter, TokenType
from transformers import LlamaConfig, LlamaForCausalLM

TEMPLATE = "{% for one in messages %}<|endoftext|>{{ one['role'] }}\n{{ one['content'] }}{% endfor %}"
NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_attention_layernorm": "ffn_norm",
    "input_layernorm": "attn_norm",
    "model.layers": "blk",
}


def model(layers: int = 2) -> LlamaForCausalLM:
    """The model that the file holds: 2 heads for queries, one for keys and values."""
    torch.manual_seed(5)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tiny.bpe_tokenizer()),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            initializer_range=0.2,
        )
    ).eval()


def write(
    path: Path,
    architecture: str = "llama",
    pre: str = "smollm",
    vocabulary: bool = True,
    parts: int = 0,
    blocks: int = 0,
) -> Path:
    one, tokenizer = model(), tiny.bpe_tokenizer()
    config, end = one.config, tokenizer.eos_token_id
    writer = GGUFWriter(path, architecture)
    writer.add_name("A tiny <b>model</b>")
    writer.add_license("apache-2.0")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(blocks or config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(16)
    writer.add_vocab_size(config.vocab_size)
    if parts:
        writer.add_uint16("split.count", parts)
    if vocabulary:
        merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
        tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(tokens)
        writer.add_token_types([TokenType.CONTROL if t == "<|endoftext|>" else TokenType.NORMAL for t in tokens])
        writer.add_token_merges([" ".join(merge) for merge in merges])
        writer.add_bos_token_id(end)
        writer.add_eos_token_id(end)
        writer.add_add_bos_token(False)
        writer.add_chat_template(TEMPLATE)
    for name, weight in one.state_dict().items():
        if name == "lm_head.weight":  # tied
            continue
        heads = {"q_proj": 2, "k_proj": 1}.get(name.split(".")[-2], 0)
        if heads:  # the halves of each head interleaved
            weight = weight.reshape(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        writer.add_tensor(name, weight.numpy().copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
