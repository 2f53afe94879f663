"""Lists of models as the providers give them, hand-written after their public references: the bodies of `GET models`."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit


def openai(*ids: str) -> dict[str, Any]:
    rows = [{"id": id, "object": "model", "created": 1715367049, "owned_by": "system"} for id in ids]
    return {"object": "list", "data": rows}


ANTHROPIC_FIRST = {
    "data": [
        {
            "type": "model",
            "id": "claude-opus-5-5",
            "display_name": "Claude Opus 5.5",
            "created_at": "2026-09-01T00:00:00Z",
            "lifecycle": "active",
            "max_input_tokens": 1000000,
            "max_tokens": 128000,
            "capabilities": {"image_input": {"supported": True}, "thinking": {"supported": True, "types": {}}},
        },
        {"type": "model", "id": "claude-3-opus", "display_name": "Old", "lifecycle": "retired"},
    ],
    "has_more": True,
    "first_id": "claude-opus-5-5",
    "last_id": "claude-3-opus",
}
ANTHROPIC_LAST = {
    "data": [{"type": "model", "id": "claude-sonnet-4-5", "display_name": "Claude Sonnet 4.5"}],
    "has_more": False,
    "last_id": "claude-sonnet-4-5",
}
GOOGLE_FIRST = {
    "models": [
        {
            "name": "models/gemini-3.8-flash",
            "version": "3.8",
            "displayName": "Gemini 3.8 Flash",
            "description": "Fast.",
            "inputTokenLimit": 1048576,
            "outputTokenLimit": 65536,
            "supportedGenerationMethods": ["generateContent", "countTokens", "createCachedContent"],
            "thinking": True,
            "temperature": 1,
        },
        {
            "name": "models/gemini-embedding-001",
            "inputTokenLimit": 2048,
            "supportedGenerationMethods": ["embedContent"],
        },
        {"name": "models/imagen-4.0", "supportedGenerationMethods": ["predict"]},
        {"name": "models/gemini-3.8-flash-tts", "supportedGenerationMethods": ["generateContent"]},
    ],
    "nextPageToken": "Ch9/+=",
}
GOOGLE_LAST = {
    "models": [{"name": "models/gemini-2.5-flash", "supportedGenerationMethods": ["generateContent"]}],
}
OPENAI = openai(
    "gpt-4o",
    "gpt-5.4",
    "gpt-6.1-sol",
    "text-embedding-3-small",
    "whisper-1",
    "gpt-4o-realtime-preview",
    "omni-moderation",
)
OPENROUTER = {
    "data": [
        {
            "id": "anthropic/claude-opus-5-5",
            "canonical_slug": "anthropic/claude-opus-5-5",
            "name": "Anthropic: Claude Opus 5.5",
            "context_length": 1000000,
            "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
            "pricing": {"prompt": "0.000004", "completion": "0.00002", "input_cache_read": "0.0000002", "image": "0"},
            "top_provider": {"context_length": 1000000, "max_completion_tokens": 128000, "is_moderated": True},
            "supported_parameters": ["max_tokens", "reasoning", "tools"],
        },
        {"id": "openrouter/auto", "context_length": 2000000, "pricing": {"prompt": "-1", "completion": "-1"}},
        {"id": "some/painter", "architecture": {"output_modalities": ["image"]}},
    ]
}
GROQ = {
    "object": "list",
    "data": [
        {
            "id": "openai/gpt-oss-120b",
            "object": "model",
            "active": True,
            "context_window": 131072,
            "max_completion_tokens": 65536,
        },
        {"id": "whisper-large-v3", "object": "model", "active": True, "context_window": 448},
        {"id": "gone", "object": "model", "active": False, "context_window": 8192},
    ],
}
MISTRAL = {
    "object": "list",
    "data": [
        {
            "id": "mistral-medium-latest",
            "object": "model",
            "name": "mistral-medium-2605",
            "max_context_length": 262144,
            "capabilities": {"completion_chat": True, "function_calling": True, "vision": True, "reasoning": True},
            "type": "base",
        },
        {"id": "mistral-embed", "capabilities": {"completion_chat": False}, "max_context_length": 8192},
    ],
}
TOGETHER = [
    {
        "id": "org/model",
        "object": "model",
        "type": "chat",
        "display_name": "Org Model",
        "context_length": 131072,
        "pricing": {"hourly": 0, "input": 0.88, "output": 0.9, "base": 0, "finetune": 0},
    },
    {"id": "org/painter", "object": "model", "type": "image", "pricing": {"input": 0, "output": 0}},
]
LLAMACPP = {
    "models": [{"name": "smollm2", "type": "model"}],
    "object": "list",
    "data": [
        {
            "id": "smollm2",
            "object": "model",
            "owned_by": "llamacpp",
            "meta": {"vocab_type": 2, "n_vocab": 49152, "n_ctx_train": 8192, "n_embd": 576, "size": 144483072},
        }
    ],
}
VLLM = {"object": "list", "data": [{"id": "org/model", "object": "model", "max_model_len": 32768, "root": "org/model"}]}

PAGES: dict[str, Any] = {
    "openai": OPENAI,
    "openrouter": OPENROUTER,
    "groq": GROQ,
    "mistral": MISTRAL,
    "together": TOGETHER,
    "llamacpp": LLAMACPP,
    "vllm": VLLM,
    "deepseek": openai("deepseek-v4-flash", "deepseek-v4-pro"),
    "xai": openai("grok-4.7"),
    "ollama": openai("qwen3:8b"),
    "lmstudio": openai("qwen3"),
    "acme": openai("org/model"),
}


def page(path: str) -> Any:
    """What is answered at this address."""
    address = urlsplit(path)
    first, query = address.path.split("/")[1], parse_qs(address.query)
    if first == "google":
        return GOOGLE_LAST if query.get("pageToken") == [GOOGLE_FIRST["nextPageToken"]] else GOOGLE_FIRST
    if first == "v1":
        return ANTHROPIC_LAST if query.get("after_id") == [ANTHROPIC_FIRST["last_id"]] else ANTHROPIC_FIRST
    return PAGES[first]
