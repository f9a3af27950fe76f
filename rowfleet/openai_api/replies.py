"""Replies of the API: the text, the usage, and the answer that they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rowfleet.analysis import UNANSWERED, Permanent, Usage
from rowfleet.openai_api.error_classes import ENDINGS
from rowfleet.openai_api.failures import failure_in
from rowfleet.received import read_json, token_count
from rowfleet.recipes.recipe import Recipe

#: Characters of an invalid answer shown to a person, and back to the model.
EXCERPT = 200

#: Characters of a service tier's name, at most: the longest in use has eight.
LONGEST_TIER = 32


def parse(
    text: str, recipe: Recipe, used: Usage | None = None
) -> tuple[dict[str, Any] | None, str]:
    """Return the valid output, or None and the reason why it is not valid.

    Raises Permanent, with ``used``, if the recipe's schema can't be applied to the answer: asking
    again would cost as much and end the same way.
    """
    try:
        output = read_json(text)
    except ValueError as error:
        return None, f"not JSON ({error}): {text[:EXCERPT]!r}"
    try:
        problem = recipe.problem_with(output)
    except Exception as error:  # whatever a validator makes of a schema and an answer
        raise Permanent(
            f"the answer can't be checked against the recipe's schema ({type(error).__name__})",
            used,
        ) from None
    return (output, "") if problem is None else (None, problem)


def usage_of(body: Any, api: str) -> Usage:
    """Return what an answer, given as its JSON, used. Raises ValueError for what is no answer.

    A count that is missing, or can't be right, is 0, and the call is one of the ``uncounted``. An
    error in an answer's place without a usable count is no answer, and possibly billed. The SDK's
    objects would be made anew from each part, and nothing else of them is of use here.
    """
    with _lenient():
        used = (_usage_of_response if api == "responses" else _usage_of_completion)(body)
    return UNANSWERED if used.uncounted and failure_in(body, api, used, "") else used


def text_of(body: Any, api: str, used: Usage, model: str = "") -> str:
    """Return an answer's text. Raises what `api_failures` makes of it, with ``used``, if there is
    none or an error in its place, and ValueError for what is no answer. ``model`` is named in
    errors."""
    if failure := failure_in(body, api, used, model):
        raise failure
    with _lenient():
        return (_text_of_response if api == "responses" else _text_of_completion)(body, used)


@contextmanager
def _lenient() -> Iterator[None]:
    try:
        yield
    except (AttributeError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise ValueError(f"not an answer ({type(error).__name__}: {error})") from None


def _usage_of_completion(completion: Mapping[str, Any]) -> Usage:
    return _counted(completion, "prompt_tokens", "completion_tokens")


def _counted(answer: Mapping[str, Any], prompt: str, completion: str) -> Usage:
    """Return an answer's usage; ``prompt`` and ``completion`` are the API's names of its counts.

    A prompt has at least one token. Gateways leave details out, or send null for them.
    """
    used = json_object(answer.get("usage"))
    sent, made = (json_object(used.get(f"{name}_details")) for name in (prompt, completion))
    prompt_tokens = token_count(used.get(prompt))
    completion_tokens = token_count(used.get(completion))
    cached = token_count(sent.get("cached_tokens") or 0)
    written = token_count(sent.get("cache_write_tokens") or 0)
    is_counted = prompt_tokens and None not in (completion_tokens, cached, written)
    return Usage(
        calls=1,
        prompt_tokens=prompt_tokens or 0,
        cached_tokens=cached or 0,
        completion_tokens=completion_tokens or 0,
        reasoning_tokens=token_count(made.get("reasoning_tokens")) or 0,
        cache_write_tokens=written or 0,
        service_tier=_tier(answer),
        uncounted=0 if is_counted else 1,
    )


def json_object(value: object) -> Mapping[str, Any]:
    """Return a JSON object, an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def _tier(answer: Mapping[str, Any]) -> str | None:
    tier = answer.get("service_tier")
    return tier if isinstance(tier, str) and len(tier) <= LONGEST_TIER else None


def _text_of_completion(completion: Mapping[str, Any], used: Usage) -> str:
    choices = completion.get("choices")
    if not choices:
        return ""
    choice = choices[0]
    message = choice["message"]
    if refusal := message.get("refusal"):
        raise ENDINGS["refusal"].failure(used, refusal)
    finish = choice.get("finish_reason")
    if finish in ("content_filter", "length", "error"):
        raise ENDINGS[finish].failure(used)
    return str(message.get("content") or "")


def _usage_of_response(response: Mapping[str, Any]) -> Usage:
    return _counted(response, "input_tokens", "output_tokens")


def _text_of_response(response: Mapping[str, Any], used: Usage) -> str:
    if response.get("status") == "incomplete":
        why = (response.get("incomplete_details") or {}).get("reason")
        if why == "content_filter":
            raise ENDINGS["content_filter"].failure(used)
        raise ENDINGS["length" if why else "incomplete"].failure(used)
    text = ""
    for item in response["output"]:
        for part in item["content"] if item.get("type") == "message" else ():
            if part.get("type") == "refusal":
                raise ENDINGS["refusal"].failure(used, part["refusal"])
            if part.get("type") == "output_text":
                text += part["text"]
    return text
