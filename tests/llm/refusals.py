"""What the real APIs refuse, as functions of a request's body: a sentence, or None for what they take.

Written from the public references and the providers' own words, not from our adapters. `issued` are the seals that this
server has given out: (seal, text). One that it has not, or with another text, is refused as a forged one would be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

Body = Mapping[str, Any]
Issued = Collection[tuple[str, str]]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_GEMINI_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}\Z")
_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+\Z")
_REASONING = re.compile(r"o\d|gpt-([5-9]|\d\d)")

_MESSAGES_KEYS = [
    "model",
    "messages",
    "max_tokens",
    "stream",
    "system",
    "tools",
    "tool_choice",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "metadata",
    "thinking",
    "output_config",
    "service_tier",
    "container",
    "context_management",
    "cache_control",
    "inference_geo",
]
_CHAT_KEYS = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "stop",
    "n",
    "seed",
    "user",
    "response_format",
    "reasoning_effort",
    "prompt_cache_key",
    "metadata",
    "store",
    "service_tier",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "verbosity",
    "safety_identifier",
]
_MISTRAL_KEYS = [
    "model",
    "messages",
    "stream",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_tokens",
    "temperature",
    "top_p",
    "stop",
    "n",
    "random_seed",
    "response_format",
    "safe_prompt",
    "prompt_mode",
    "presence_penalty",
    "frequency_penalty",
    "prediction",
    "metadata",
]
_RESPONSES_KEYS = [
    "model",
    "input",
    "instructions",
    "stream",
    "store",
    "include",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_output_tokens",
    "temperature",
    "top_p",
    "reasoning",
    "text",
    "prompt_cache_key",
    "prompt_cache_options",
    "metadata",
    "previous_response_id",
    "truncation",
    "service_tier",
    "max_tool_calls",
    "background",
    "safety_identifier",
    "stream_options",
    "user",
    "conversation",
]
_GEMINI_KEYS = [
    "contents",
    "tools",
    "toolConfig",
    "systemInstruction",
    "generationConfig",
    "safetySettings",
    "cachedContent",
]
_GENERATION_KEYS = [
    "maxOutputTokens",
    "temperature",
    "topP",
    "topK",
    "stopSequences",
    "thinkingConfig",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "candidateCount",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
]
_STRICT = {"openai": _CHAT_KEYS, "groq": _CHAT_KEYS, "mistral": _MISTRAL_KEYS}


def _first(*faults: str | None) -> str | None:
    return next((fault for fault in faults if fault), None)


def _unknown(body: Body, known: Iterable[str], said: str) -> str | None:
    return next((said.format(key) for key in body if key not in known), None)


def _count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


# -- Anthropic Messages


def messages(body: Body, issued: Issued = ()) -> str | None:
    if not _count(body.get("max_tokens")):
        return "max_tokens: Field required"
    given = body.get("messages") or []
    if not given or given[0]["role"] != "user" or not (given[-1]["role"] == "user" or _paused(given[-1])):
        return "messages must begin and end with a user message"
    marks = json.dumps(body).count('"cache_control"')
    return _first(
        _unknown(body, _MESSAGES_KEYS, "{}: Extra inputs are not permitted"),
        f"{marks} cache breakpoints, at most 4" if marks > 4 else None,
        _pairs(given),
        *(_block(block, message["role"], issued) for message in given for block in message["content"]),
        *(_messages_tool(tool) for tool in body.get("tools") or ()),
        _messages_thinking(body, given),
    )


def _paused(message: Body) -> bool:
    """An answer that stopped in the work of the provider's own tools, and is asked to go on."""
    return any(block["type"] == "server_tool_use" for block in message["content"])


def _pairs(given: Sequence[Body]) -> str | None:
    """Each call is answered by the message after it, the answers first."""
    uses: list[str] = []
    for message in given:
        kinds = [block["type"] for block in message["content"]]
        results = [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"]
        if sorted(results) != sorted(uses):
            return f"tool_use ids {uses} were answered by {results}"
        if results and kinds[: len(results)] != ["tool_result"] * len(results):
            return "tool_result blocks must come first in the message that answers a tool_use"
        uses = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
    return f"`tool_use` ids were found without `tool_result` blocks: {uses}" if uses else None


def _block(block: Body, role: str, issued: Issued) -> str | None:
    match block["type"]:
        case "text":
            return None if block["text"].strip() else "text content blocks must be non-empty"
        case "thinking":
            forged = (block["signature"], block["thinking"]) not in issued
            return "Invalid `signature` in `thinking` block" if forged else None
        case "redacted_thinking" | "server_tool_use":
            return None if role == "assistant" else f"{block['type']} is the assistant's"
        case "tool_use":
            if role != "assistant" or not _NAME.match(block["id"]):
                return "tool_use.id: String should match pattern"
            return None if _NAME.match(block["name"]) else "tool_use.name: String should match pattern"
        case "tool_result":
            return None if role == "user" else "tool_result is the user's"
        case kind if str(kind).endswith("_tool_result"):
            return None if role == "assistant" else f"{kind} is the assistant's"
    return f"messages: Input tag {block['type']!r} does not match any of the expected tags"


def _messages_tool(tool: Body) -> str | None:
    if "type" in tool and tool["type"] != "custom":
        domains = tool.get("allowed_domains")
        if domains is not None and (not domains or not all(_DOMAIN.match(domain) for domain in domains)):
            return f"tools: allowed_domains {domains!r}: must be domains without a scheme, at least one"
        return (
            None if re.fullmatch(r"(web_search|code_execution)_20\d{6}", tool["type"]) else f"tools: {tool['type']!r}"
        )
    if not _NAME.match(tool.get("name", "")):
        return f"tools: name {tool.get('name')!r} should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
    return (
        None if (tool.get("input_schema") or {}).get("type") == "object" else "tools: input_schema.type: Field required"
    )


def _messages_thinking(body: Body, given: Sequence[Body]) -> str | None:
    thinking = body.get("thinking") or {}
    if "temperature" in body and (thinking or not 0 <= body["temperature"] <= 1):
        return "temperature: range: 0..1, and only 1 when thinking is enabled"
    if thinking.get("type") != "enabled":
        return None
    if not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
        return "max_tokens must be greater than thinking.budget_tokens, which is at least 1024"
    last = next((m for m in reversed(given) if m["role"] == "assistant"), None)
    pending = last is not None and any(block["type"] == "tool_use" for block in last["content"])
    if last is not None and pending and "thinking" not in last["content"][0]["type"]:
        return "Expected `thinking` or `redacted_thinking`, but found something else"
    return None


# -- OpenAI Chat Completions, and who speaks it


def chat(body: Body, dialect: str, issued: Issued = ()) -> str | None:
    model, given = str(body.get("model") or ""), body.get("messages") or []
    if not model or not given:
        return "you must provide a model and messages"
    strict = _STRICT.get(dialect)
    return _first(
        _unknown(body, strict, "Unrecognized request argument supplied: {}") if strict else None,
        _chat_pairs(given),
        *(_chat_message(message, dialect, issued) for message in given),
        *(_function(tool.get("function") or {}) for tool in body.get("tools") or ()),
        _chat_openai(body, model) if dialect == "openai" else None,
        "Expected last role User or Tool" if dialect == "mistral" and given[-1]["role"] == "assistant" else None,
    )


def _chat_pairs(given: Sequence[Body]) -> str | None:
    waiting: set[str] = set()
    for message in given:
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                return f"a tool message answers {message['tool_call_id']!r}, which nobody called"
            waiting.discard(message["tool_call_id"])
        elif waiting:
            return f"tool calls {sorted(waiting)} have no answer"
        waiting |= {call["id"] for call in message.get("tool_calls") or ()}
    return f"tool calls {sorted(waiting)} have no answer" if waiting else None


def _chat_message(message: Body, dialect: str, issued: Issued) -> str | None:
    calls = message.get("tool_calls") or ()
    if message["role"] not in ("system", "user", "assistant", "tool"):
        return f"{message['role']!r} is not one of the roles"
    if message.get("content") is None and not calls:
        return "Invalid value for 'content': expected a string, got null."
    for call in calls:
        if not _NAME.match(call["function"]["name"]):
            return "Invalid 'messages': tool_calls[0].function.name: string does not match pattern '^[a-zA-Z0-9_-]+$'."
        if not isinstance(json.loads(call["function"]["arguments"]), dict):
            return "tool_calls: arguments must be a JSON object in a string"
        if dialect == "mistral" and not re.fullmatch(r"[A-Za-z0-9]{9}", call["id"]):
            return f"Tool call id was {call['id']} but must be a-z, A-Z, 0-9, with a length of 9."
    if dialect == "deepseek" and calls and issued and "reasoning_content" not in message:
        return "Missing `reasoning_content` field in the assistant message"
    forged = [d for d in message.get("reasoning_details") or () if (d.get("signature"), d.get("text")) not in issued]
    return "Invalid `signature` in `thinking` block" if forged else None


def _chat_openai(body: Body, model: str) -> str | None:
    if not _REASONING.match(model):
        return None
    for key in ("max_tokens", "temperature"):
        if key in body:
            return f"Unsupported parameter: {key!r} is not supported with this model."
    effort = body.get("reasoning_effort")
    if body.get("tools") and re.match(r"gpt-(5\.[4-9]|[6-9])", model) and effort not in (None, "none"):
        return f"Function tools with reasoning_effort are not supported for {model}. Please use /v1/responses instead."
    return None


def _function(function: Body) -> str | None:
    if not _NAME.match(function.get("name", "")):
        return f"Invalid 'tools': name {function.get('name')!r} does not match pattern '^[a-zA-Z0-9_-]+$'"
    if (function.get("parameters") or {}).get("type") != "object":
        return "Invalid schema for function: schema must be a JSON Schema of 'type: \"object\"'"
    return None


# -- OpenAI Responses


def responses(body: Body, issued: Issued = ()) -> str | None:
    model, given = str(body.get("model") or ""), body.get("input") or []
    if not model or not given:
        return "Missing required parameter: 'model' or 'input'."
    if "max_output_tokens" in body and not _count(body["max_output_tokens"], 16):
        return "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16"
    return _first(
        _unknown(body, _RESPONSES_KEYS, "Unknown parameter: '{}'."),
        _responses_pairs(given),
        *(_item(item, body, issued) for item in given),
        *(_responses_tool(tool) for tool in body.get("tools") or ()),
        _responses_reasoning(body, bool(_REASONING.match(model))),
    )


def _responses_pairs(given: Sequence[Body]) -> str | None:
    called: set[str] = set()
    answered: set[str] = set()
    for number, item in enumerate(given):
        match item["type"]:
            case "function_call":
                called.add(item["call_id"])
            case "function_call_output":
                if item["call_id"] not in called:
                    return f"No tool call found for function call output with call_id {item['call_id']}."
                answered.add(item["call_id"])
            case "reasoning":
                after = next((i["type"] for i in given[number + 1 :] if i["type"] != "reasoning"), None)
                if after not in ("function_call", "message", "web_search_call", "code_interpreter_call"):
                    return f"Item {item['id']!r} of type 'reasoning' was provided without its required following item."
    return f"No tool output found for function call {min(called - answered)}." if called - answered else None


def _item(item: Body, body: Body, issued: Issued) -> str | None:
    match item["type"]:
        case "message":
            kind = "output_text" if item["role"] == "assistant" else "input_text"
            wrong = [part["type"] for part in item["content"] if part["type"] != kind]
            return f"Invalid value: {wrong[0]!r}. Supported values are: {kind!r}" if wrong else None
        case "function_call":
            whole = isinstance(json.loads(item["arguments"]), dict)
            return None if _NAME.match(item["name"]) and whole else "Invalid 'input': function_call"
        case "function_call_output":
            return None if isinstance(item["output"], str) else "Invalid type for 'input.output'"
        case "reasoning":
            seal = item.get("encrypted_content")
            if not seal and body.get("store") is False:
                return f"Item with id {item['id']!r} not found. Items are not persisted when `store` is set to false."
            said = "".join(part["text"] for part in item["summary"])
            forged = (seal, said) not in issued
            return "The encrypted content could not be verified." if forged else None
        case "web_search_call" | "code_interpreter_call":
            return None
    return f"Invalid value: {item['type']!r}."


def _responses_tool(tool: Body) -> str | None:
    match tool.get("type"):
        case "function":
            return "Missing required parameter: 'strict'" if "strict" not in tool else _function(tool)
        case "web_search":
            domains = (tool.get("filters") or {}).get("allowed_domains")
            fits = domains is None or (0 < len(domains) <= 100 and all(map(_DOMAIN.match, domains)))
            return None if fits else f"Invalid 'tools.filters.allowed_domains': {domains!r}"
        case "code_interpreter":
            return None if tool.get("container") else "Missing required parameter: 'tools.container'."
    return f"Invalid value: {tool.get('type')!r}."


def _responses_reasoning(body: Body, reasons: bool) -> str | None:
    sealed = "reasoning.encrypted_content" in (body.get("include") or ())
    if not reasons and sealed:
        return "Encrypted content is not supported with this model."
    if not reasons and body.get("reasoning"):
        return "Unsupported parameter: 'reasoning.effort' is not supported with this model."
    if reasons and "temperature" in body:
        return "Unsupported parameter: 'temperature' is not supported with this model."
    return None


# -- Gemini


def gemini(body: Body, model: str, issued: Issued = ()) -> str | None:
    given = body.get("contents") or []
    if not given or given[0]["role"] != "user" or given[-1]["role"] != "user":
        return "Please ensure that multiturn requests begin and end with a user turn"
    said = 'Invalid JSON payload received. Unknown name "{}": Cannot find field.'
    config = body.get("generationConfig") or {}
    found = re.match(r"gemini-(\d+)", model)
    generation = int(found[1]) if found else 0
    return _first(
        _unknown(body, _GEMINI_KEYS, said),
        _unknown(config, _GENERATION_KEYS, said),
        _gemini_pairs(given),
        *(_gemini_seals(content, generation, issued) for content in _since_words(given)),
        *("Unable to submit request because it must have a text parameter" for c in given if not c["parts"]),
        *(_declaration(d) for tool in body.get("tools") or () for d in tool.get("functionDeclarations") or ()),
        _gemini_tools(body, generation),
        _gemini_thinking(config.get("thinkingConfig") or {}, generation),
    )


def _gemini_pairs(given: Sequence[Body]) -> str | None:
    waiting: list[str] = []
    for content in given:
        answers = [p["functionResponse"]["name"] for p in content["parts"] if "functionResponse" in p]
        if sorted(answers) != sorted(waiting):
            return (
                "Please ensure that the number of function response parts is equal to the number of function call parts "
                f"of the function call turn: {waiting}, {answers}"
            )
        waiting = [p["functionCall"]["name"] for p in content["parts"] if "functionCall" in p]
        if waiting and content["role"] != "model":
            return "function calls are the model's"
        if not all(map(_GEMINI_NAME.match, waiting)):
            return "Invalid function name. Must start with a letter or an underscore."
    return "Please ensure that function call turns come before function response turns" if waiting else None


def _since_words(given: Sequence[Body]) -> list[Body]:
    """The model's contents since somebody last said something: for these the signatures are checked."""
    found: list[Body] = []
    for content in reversed(given):
        if content["role"] == "user" and not any("functionResponse" in part for part in content["parts"]):
            break
        found += [content] if content["role"] == "model" else []
    return found


def _gemini_seals(content: Body, generation: int, issued: Issued) -> str | None:
    calls = [part for part in content["parts"] if "functionCall" in part]
    for number, part in enumerate(calls):
        seal = part.get("thoughtSignature")
        if seal is None and number == 0 and generation >= 3:
            return (
                f"Function call `{part['functionCall']['name']}` is missing a thought_signature in functionCall parts."
            )
        if seal is not None and seal != "skip_thought_signature_validator" and seal not in {s for s, _ in issued}:
            return "Corrupted thought signature."
    return None


def _declaration(declaration: Body) -> str | None:
    if not _GEMINI_NAME.match(declaration.get("name", "")):
        return "Invalid function name. Must start with a letter or an underscore."
    schema = declaration.get("parametersJsonSchema")
    if schema is not None and (schema.get("type") != "object" or not schema.get("properties")):
        return "functionDeclaration parameters schema should be of type OBJECT and should be non-empty"
    return None


def _gemini_tools(body: Body, generation: int) -> str | None:
    keys = {key for tool in body.get("tools") or () for key in tool}
    if not keys <= {"functionDeclarations", "googleSearch", "codeExecution"}:
        return f"Unknown name in tools: {sorted(keys)}"
    if "functionDeclarations" in keys and len(keys) > 1:
        if generation < 3:
            return "Tool use with function calling is unsupported"
        if not (body.get("toolConfig") or {}).get("includeServerSideToolInvocations"):
            return "Please enable tool_config.include_server_side_tool_invocations to use built-in tools with function calling"
    return None


def _gemini_thinking(config: Body, generation: int) -> str | None:
    if "thinkingLevel" in config and "thinkingBudget" in config:
        return "You can only set one of thinking budget and thinking level."
    if "thinkingLevel" in config and generation < 3:
        return "Thinking level is not supported for this model."
    return None
