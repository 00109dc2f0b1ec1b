#!/usr/bin/env python3
"""Writes a small model with random weights, as llama.cpp reads it: model.py FILE.

What it says is noise; how it is served is real. GGUF 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md):
a head, the values, the tensors' names, shapes and places, the tensors. The same bytes each time.
"""

import array
import random
import struct
import sys

WIDTH, BLOCKS, HEADS, HIDDEN, CONTEXT = 256, 4, 4, 512, 8192
U32, I32, F32, TEXT, LIST = 4, 5, 6, 8, 9
ALIGNMENT = 32

# The bytes, so that every text can be said, two words for the ends, and some more.
WORDS = ["a", "the", "of", "and", "is", "to", "one", "two"]
TOKENS = [("<unk>", 2), ("<s>", 3), ("</s>", 3)]
TOKENS += [(f"<0x{byte:02X}>", 6) for byte in range(256)] + [("\u2581" + word, 1) for word in WORDS]
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"

VALUES = [
    ("general.architecture", TEXT, "llama"),
    ("llama.context_length", U32, CONTEXT),
    ("llama.embedding_length", U32, WIDTH),
    ("llama.block_count", U32, BLOCKS),
    ("llama.feed_forward_length", U32, HIDDEN),
    ("llama.attention.head_count", U32, HEADS),
    ("llama.attention.head_count_kv", U32, HEADS),
    ("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
    ("llama.rope.dimension_count", U32, WIDTH // HEADS),
    ("llama.vocab_size", U32, len(TOKENS)),
    ("tokenizer.ggml.model", TEXT, "llama"),
    ("tokenizer.ggml.tokens", LIST, (TEXT, [token for token, _ in TOKENS])),
    ("tokenizer.ggml.scores", LIST, (F32, [-float(at) for at in range(len(TOKENS))])),
    ("tokenizer.ggml.token_type", LIST, (I32, [kind for _, kind in TOKENS])),
    ("tokenizer.ggml.unknown_token_id", U32, 0),
    ("tokenizer.ggml.bos_token_id", U32, 1),
    ("tokenizer.ggml.eos_token_id", U32, 2),
    ("tokenizer.chat_template", TEXT, TEMPLATE),
]


def tensors():
    """Names and shapes, the length of a row first."""
    yield "token_embd.weight", [WIDTH, len(TOKENS)]
    yield "output_norm.weight", [WIDTH]
    yield "output.weight", [WIDTH, len(TOKENS)]
    for block in range(BLOCKS):
        yield f"blk.{block}.attn_norm.weight", [WIDTH]
        for part in ["q", "k", "v", "output"]:
            yield f"blk.{block}.attn_{part}.weight", [WIDTH, WIDTH]
        yield f"blk.{block}.ffn_norm.weight", [WIDTH]
        yield f"blk.{block}.ffn_gate.weight", [WIDTH, HIDDEN]
        yield f"blk.{block}.ffn_up.weight", [WIDTH, HIDDEN]
        yield f"blk.{block}.ffn_down.weight", [HIDDEN, WIDTH]


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def written(kind, value):
    if kind == TEXT:
        return text(value)
    if kind == LIST:
        of, values = value
        return struct.pack("<IQ", of, len(values)) + b"".join(written(of, one) for one in values)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f"}[kind], value)


def count(shape):
    return shape[0] * (shape[1] if len(shape) > 1 else 1)


def padding(length):
    return bytes(-length % ALIGNMENT)


def main(path):
    every = list(tensors())
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(every), len(VALUES))
    for key, kind, value in VALUES:
        head += text(key) + struct.pack("<I", kind) + written(kind, value)
    place = 0
    for name, shape in every:
        size = 4 * count(shape)
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, place)
        place += size + len(padding(size))
    weights = random.Random(1)
    with open(path, "wb") as file:
        file.write(head + padding(len(head)))
        for name, shape in every:
            if "norm" in name:
                values = array.array("f", [1.0]) * count(shape)
            else:
                drawn = array.array("h", weights.randbytes(2 * count(shape)))
                values = array.array("f", (one / 300_000 for one in drawn))
            file.write(values.tobytes() + padding(4 * count(shape)))


main(sys.argv[1])
