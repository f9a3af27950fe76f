"""The API's failures and their meaning for the row and its batch, as tables.

`CLASSES` is read from the top: the first entry that fits decides, and the last fits everything. It
covers OpenAI and the servers that speak its protocol: Azure OpenAI, vLLM, LiteLLM, OpenRouter.
`docs/reference/error-classes.md` is made from these tables.

No entry stops a batch by the text of a message: a message may quote the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from rowfleet.analysis import Permanent, Transient, Usage

#: Characters of a code that are looked at. The longest known one has 39.
LONGEST_WORD: Final = 64

#: Levels of `innererror` that are looked into; Azure OpenAI uses one.
LEVELS: Final = 3


class Fate(Enum):
    """What becomes of a row after a failure."""

    #: Tried again later, which counts as a retry.
    RETRY = "retry"
    #: Asked again when the limit allows it, which does not.
    WAIT = "wait"
    #: Fails: the same request would fail the same way.
    FAIL = "fail"
    #: Waits in the ledger while its batch is stopped: other rows would fail the same way.
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """A class of errors: how it is known, and what becomes of the row."""

    #: For people.
    what: str
    fate: Fate
    #: The reason, in our words; `{status}` and `{model}` are filled in.
    sentence: str
    #: HTTP statuses; empty is every status.
    statuses: frozenset[int] = frozenset()
    #: Values of `code`, `type` or `innererror.code` in small letters, one of which must be there.
    words: frozenset[str] = frozenset()
    #: Values of `param` that do as well.
    params: frozenset[str] = frozenset()
    #: Part of the message that must be there, in small letters.
    says: str = ""
    #: Whether every row may be meant, so that many in a row stop the batch.
    is_doubtful: bool = False
    #: Whether the API may have worked on the row, and bill it.
    may_be_billed: bool = False

    def fits(self, status: int, words: frozenset[str], param: str, said: str) -> bool:
        """Tell whether an error is of this class."""
        if self.statuses and status not in self.statuses:
            return False
        named = self.words or self.params
        if named and not (words & self.words or param in self.params):
            return False
        return self.says in said.lower()


_CLIENT = frozenset(range(400, 500))

CLASSES: Final = (
    ErrorClass(
        "no money: the quota is used up, billing is off, a budget is spent",
        Fate.STOP,
        "the API key's quota is used up, or its account can't pay ({status})",
        words=frozenset(
            {
                "insufficient_quota",
                "billing_not_active",
                "billing_hard_limit_reached",
                "billing_soft_limit_reached",
                "budget_exceeded",
                "insufficient_credits",
                "insufficient_funds",
                "insufficient_balance",
            }
        ),
    ),
    ErrorClass(
        "no money, by the status alone",
        Fate.STOP,
        "the account at the API can't pay ({status})",
        statuses=frozenset({402}),
    ),
    ErrorClass(
        "a content filter or a gateway's moderation refuses the row",
        Fate.FAIL,
        "the content filter refused the row ({status})",
        words=frozenset(
            {
                "content_filter",
                "content_policy_violation",
                "responsibleaipolicyviolation",
                "moderation",
                "moderation_blocked",
                "invalid_prompt",
                "guardrail_violation",
            }
        ),
    ),
    ErrorClass(
        "the row is too long for the model",
        Fate.FAIL,
        "the row is too long for the model ({status})",
        statuses=_CLIENT,
        words=frozenset(
            {"context_length_exceeded", "string_above_max_length", "tokens_limit_reached"}
        ),
        is_doubtful=True,
    ),
    ErrorClass(
        "the key is wrong",
        Fate.STOP,
        "OPENAI_API_KEY was rejected by the API ({status})",
        statuses=frozenset({401, 407}),
    ),
    ErrorClass(
        "the key may not do this",
        Fate.STOP,
        "the API denies this key the request ({status})",
        statuses=_CLIENT,
        words=frozenset(
            {
                "invalid_api_key",
                "account_deactivated",
                "insufficient_permissions",
                "permission_denied",
                "permissiondenied",
                "permissiondeniederror",
                "permission_error",
                "accessdenied",
                "access_denied",
                "access_terminated",
                "auth_error",
                "unsupported_country_region_territory",
                "key_model_access_denied",
                "team_model_access_denied",
                "user_model_access_denied",
                "project_model_access_denied",
            }
        ),
    ),
    ErrorClass(
        "no such model or deployment",
        Fate.STOP,
        "the API has no model {model!r} ({status})",
        statuses=_CLIENT,
        words=frozenset({"model_not_found", "deploymentnotfound", "model_not_available"}),
    ),
    ErrorClass(
        "no such model or path",
        Fate.STOP,
        "the API has no model {model!r} or no such path ({status})",
        statuses=frozenset({404, 405, 410, 501}),
    ),
    ErrorClass(
        "the recipe's options or schema are none of this model's",
        Fate.STOP,
        "the API does not take the recipe's options or schema ({status})",
        statuses=frozenset({400, 422}),
        words=frozenset(
            {
                "unsupported_parameter",
                "unsupported_value",
                "unknown_parameter",
                "invalid_json_schema",
            }
        ),
        params=frozenset(
            {
                "model",
                "response_format",
                "text.format",
                "text.format.schema",
                "temperature",
                "top_p",
                "seed",
                "reasoning_effort",
                "reasoning.effort",
                "service_tier",
            }
        ),
    ),
    ErrorClass(
        "the API or a gateway forbids it, and does not say whether the key or the row is meant",
        Fate.RETRY,
        "the API or a gateway before it forbids the request ({status})",
        statuses=frozenset({403}),
        is_doubtful=True,
    ),
    ErrorClass(
        "the flex tier has nothing free",
        Fate.RETRY,
        "the API answered {status}",
        statuses=frozenset({429}),
        words=frozenset({"resource_unavailable"}),
    ),
    ErrorClass(
        "the row needs more than a whole minute's limit",
        Fate.FAIL,
        "the API refused the request ({status})",
        statuses=frozenset({429}),
        says="too large",
        is_doubtful=True,
    ),
    ErrorClass(
        "a rate limit",
        Fate.WAIT,
        "the API answered {status}",
        statuses=frozenset({429}),
    ),
    ErrorClass(
        "a gateway gave up on the call, which the API behind it may have answered",
        Fate.RETRY,
        "the API answered {status}",
        statuses=frozenset({408, 499, 502, 504, 520, 524}),
        may_be_billed=True,
    ),
    ErrorClass(
        "a conflict, too early, not ready",
        Fate.RETRY,
        "the API answered {status}",
        statuses=frozenset({409, 421, 423, 424, 425}),
    ),
    ErrorClass(
        "any other refusal",
        Fate.FAIL,
        "the API refused the request ({status})",
        statuses=frozenset(range(300, 500)),
        is_doubtful=True,
    ),
    ErrorClass(
        "an error of the API, which bills answers alone",
        Fate.RETRY,
        "the API answered {status}",
    ),
)


@dataclass(frozen=True, slots=True)
class Ending:
    """A way in which an answer with status 200 is not usable."""

    #: For people: what the answer has, and what that means.
    sign: str
    what: str
    fate: Fate
    sentence: str

    def failure(self, used: Usage, said: object = None) -> Permanent | Transient:
        """Return what it means for the row, whose calls have ``used`` so much."""
        if self.fate is Fate.FAIL:
            return Permanent(self.sentence, used, said=said)
        return Transient(self.sentence, used, said=said)


#: A fault of an answer → its meaning. An error inside an answer is of `CLASSES`.
ENDINGS: Final = {
    "refusal": Ending("`refusal`", "the model refuses to answer", Fate.FAIL, "the model refused"),
    "content_filter": Ending(
        "`finish_reason` or `incomplete_details.reason` is `content_filter`",
        "the content filter withholds the answer",
        Fate.FAIL,
        "the answer was withheld by the content filter",
    ),
    "length": Ending(
        "`finish_reason` is `length`, `incomplete_details.reason` is `max_output_tokens`",
        "the answer is cut off",
        Fate.FAIL,
        "the answer was cut off; raise max_completion_tokens in the recipe's options",
    ),
    "error": Ending(
        "`finish_reason` is `error`, without an `error`",
        "the provider broke off",
        Fate.RETRY,
        "the API broke off its answer",
    ),
    "failed": Ending(
        "`status` is `failed`, `cancelled`, `queued` or `in_progress`, without an `error`",
        "the response has no end that can be used",
        Fate.RETRY,
        "the API did not finish its answer",
    ),
    "incomplete": Ending(
        "`status` is `incomplete`, without a reason",
        "the response is not whole",
        Fate.RETRY,
        "the API did not finish its answer, and does not say why",
    ),
}

#: Code of a remote batch's own error → what becomes of its rows. Every other code stops the batch.
BATCH_ERRORS: Final[Mapping[str, Fate]] = {
    "token_limit_exceeded": Fate.WAIT,
    "server_error": Fate.RETRY,
    "internal_error": Fate.RETRY,
    "internal_server_error": Fate.RETRY,
    "service_unavailable": Fate.RETRY,
    "request_timeout": Fate.RETRY,
}
