"""The analyst behind any OpenAI-compatible `/chat/completions` endpoint.

Everything that comes back is untrusted: it is bounded in size and time, validated against the schema,
and never followed anywhere, redirects included. All that goes wrong ends in
:class:`AnalysisFailed` with a short reason. Reasons are built here from statuses and class names, not
from library messages, which may quote a header with the key in it.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx
import tenacity
from pydantic import BaseModel, Field, ValidationError

from alert_assets.analysis.analyst import HYPOTHESIS, Analysis, AnalysisFailed, Answer, BudgetExhausted, Context
from alert_assets.analysis.budget import TokenBudget, estimate_tokens
from alert_assets.analysis.prompt import PROMPT_VERSION, Message, build_messages, response_format, with_correction
from alert_assets.errors import UserError
from alert_assets.kernel.text import one_line
from alert_assets.logs import run_log
from alert_assets.settings import PREFIX, Settings

if TYPE_CHECKING:
    from types import TracebackType

#: Upper bound of one answer; a full Analysis needs about half.
MAX_COMPLETION_TOKENS = 1_500
#: A response beyond this is cut off and refused; a full answer is well under 20 kB.
MAX_RESPONSE_BYTES = 1_000_000
#: Answers asked for before one incident is given up: the first, and one after a refused answer.
MAX_ANSWERS = 2
_FIRST_BACKOFF_SECONDS = 0.5
#: A usage report above this is nonsense and is estimated instead.
_MAX_BELIEVABLE_TOKENS = 10_000_000

#: Ids of evidence as an answer cites them: `[A1]`, or `[A1, C2]`.
_CITATION = re.compile(r"\[([A-Z]\d{1,4}(?:[,;] ?[A-Z]\d{1,4})*)\]")


class _Choice(BaseModel):
    class Message(BaseModel):
        content: str | None = None
        refusal: str | None = None

    message: Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    """What is read of a chat completion; the rest is ignored."""

    choices: list[_Choice] = Field(min_length=1)
    usage: Any = None


@dataclass
class _Tally:
    """What one incident has cost so far, over all its requests."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    last_problem: str = ""

    def failed(self, reason: str) -> AnalysisFailed:
        return AnalysisFailed(reason, self.prompt_tokens, self.completion_tokens)


class _Transient(Exception):
    """Worth another try. `was_read`: the endpoint may have worked on the prompt, so it counts as spent."""

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None, was_read: bool = False) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds
        self.was_read = was_read


class _Refused(Exception):
    """The endpoint will not answer this request, however often it is asked."""


class _BadAnswer(Exception):
    """An answer came and is not an Analysis; the message names fields and rules only."""


class LlmAnalyst:
    """Asks the model named by the settings. Use as `async with`; one connection pool for all incidents.

    Raises:
        UserError: the base URL or the key cannot be used at all.
    """

    prompt_version = PROMPT_VERSION

    def __init__(self, settings: Settings, budget: TokenBudget, log: Any = None) -> None:
        """Open a pool of connections to the endpoint of the settings; `log` is the run's."""
        self.name = settings.llm_model
        self._budget, self._log = budget, log or run_log("")
        self._timeout_seconds = settings.llm_timeout_seconds
        self._max_retries = settings.llm_max_retries
        self._max_backoff_seconds = settings.llm_max_backoff_seconds
        #: How this endpoint wants its parameters; see `_adapt`.
        self._parameters: dict[str, Any] = {"max_tokens": MAX_COMPLETION_TOKENS, "temperature": 0}
        self._url = _endpoint(settings.llm_base_url)
        self._key = _usable_key(settings.llm_api_key.get_secret_value())
        is_here = self._url.host in ("localhost", "127.0.0.1", "::1")
        if self._key and self._url.scheme == "http" and not is_here:
            self._log.warning("llm_key_sent_in_clear", host=self._url.host, hint=f"use https in {PREFIX}LLM_BASE_URL")
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=settings.llm_timeout_seconds,
            limits=httpx.Limits(max_connections=settings.llm_max_concurrency),
            follow_redirects=False,
            # A proxy would get what is meant for this machine, and the key in clear.
            trust_env=not is_here,
        )
        # Compressed, a small response could unpack to any size.
        self._client.headers["Accept-Encoding"] = "identity"

    def __repr__(self) -> str:
        """Name the model, and never the key."""
        return f"{type(self).__name__}({self.name!r})"

    async def __aenter__(self) -> LlmAnalyst:
        """Return the analyst."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def analyze(self, context: Context) -> Answer:
        """Ask, and once more if the answer is refused. The confidence is held to what the evidence allows."""
        tally = _Tally()
        messages = build_messages(context)
        for _ in range(MAX_ANSWERS):
            try:
                analysis = _parse_analysis(await self._ask(messages, tally))
                _check_citations(analysis, context.evidence_ids)
            except _BadAnswer as problem:
                tally.last_problem = str(problem)
                messages = with_correction(build_messages(context), str(problem))
                self._log.info("llm_answer_refused", context_hash=context.context_hash, problem=str(problem))
            else:
                capped = min(analysis.confidence_score, context.confidence_ceiling)
                analysis = analysis.model_copy(update={"confidence_score": capped})
                return Answer(analysis, tally.prompt_tokens, tally.completion_tokens)
        raise tally.failed(f"answer refused {MAX_ANSWERS} times, last: {tally.last_problem}")

    async def _ask(self, messages: list[Message], tally: _Tally) -> str:
        """The content of one answer, after as many retries as it takes and the settings allow."""
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_Transient),
            stop=tenacity.stop_after_attempt(1 + self._max_retries),
            wait=self._wait_seconds,
            reraise=True,
        )
        try:
            return await retrying(self._request_once, messages, tally)
        except (_Transient, _Refused) as error:
            raise tally.failed(str(error)) from None
        except BudgetExhausted as error:
            if tally.requests == 0:
                raise
            raise tally.failed(f"{tally.last_problem}; no budget to ask again: {error}") from None

    def _wait_seconds(self, state: tenacity.RetryCallState) -> float:
        """Exponential with full jitter, or longer when the endpoint asked for it; never above the cap."""
        jittered = tenacity.wait_random_exponential(multiplier=_FIRST_BACKOFF_SECONDS, max=self._max_backoff_seconds)
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_seconds if isinstance(error, _Transient) else None
        return min(max(jittered(state), asked or 0.0), self._max_backoff_seconds)

    async def _request_once(self, messages: list[Message], tally: _Tally) -> str:
        """One request, with the most it may cost set aside before and its real cost booked after."""
        body = {
            "model": self.name,
            "messages": messages,
            "response_format": response_format(),
            **self._parameters,
        }
        payload = json.dumps(body).encode()
        prompt_estimate = estimate_tokens(json.dumps(body, ensure_ascii=False))
        reserved = prompt_estimate + MAX_COMPLETION_TOKENS
        await self._budget.reserve(reserved)
        prompt_tokens = completion_tokens = 0
        try:
            tally.requests += 1
            completion = await self._complete(payload, body)
            content = completion.choices[0].message.content or ""
            prompt_tokens = _reported(completion.usage, "prompt_tokens", prompt_estimate)
            completion_tokens = _reported(completion.usage, "completion_tokens", estimate_tokens(content))
        except _Transient as error:
            tally.last_problem = str(error)
            prompt_tokens = prompt_estimate if error.was_read else 0
            raise
        except _BadAnswer:
            prompt_tokens = prompt_estimate
            raise
        finally:
            tally.prompt_tokens += prompt_tokens
            tally.completion_tokens += completion_tokens
            await self._budget.settle(reserved, prompt_tokens + completion_tokens)
        return _content(completion.choices[0])

    async def _complete(self, payload: bytes, body: dict[str, Any]) -> _Completion:
        """POST within the deadline, and sort what comes back into an answer and the ways to fail."""
        try:
            status, headers, raw = await asyncio.wait_for(self._post(payload), self._timeout_seconds)
        except (TimeoutError, httpx.TimeoutException):
            raise _Transient(f"no answer within {self._timeout_seconds:g} s", was_read=True) from None
        except httpx.RemoteProtocolError:
            raise _Transient("the connection broke off before the answer was whole", was_read=True) from None
        except httpx.TransportError as error:
            raise _Transient(f"cannot reach the endpoint ({type(error).__name__})") from None
        except httpx.HTTPError as error:
            raise _Refused(f"request failed ({type(error).__name__})") from None
        if status != 200:
            self._raise_for_status(status, headers, raw, body)
        try:
            return _Completion.model_validate_json(raw)
        except ValidationError:
            raise _BadAnswer("the response is not a chat completion") from None

    async def _post(self, payload: bytes) -> tuple[int, httpx.Headers, bytes]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        async with self._client.stream("POST", self._url, content=payload, headers=headers) as response:
            raw = bytearray()
            async for chunk in response.aiter_bytes():
                raw += chunk
                if len(raw) > MAX_RESPONSE_BYTES:
                    raise _BadAnswer(f"larger than {MAX_RESPONSE_BYTES} bytes")
            return response.status_code, response.headers, bytes(raw)

    def _raise_for_status(self, status: int, headers: httpx.Headers, raw: bytes, body: dict[str, Any]) -> None:
        if status == 429 or status >= 500:
            raise _Transient(f"HTTP {status}", retry_after_seconds=_retry_after_seconds(headers))
        if 300 <= status < 400:
            raise _Refused(f"HTTP {status}: redirects are not followed; check {PREFIX}LLM_BASE_URL")
        if status in (401, 403):
            # The body of these tends to quote the key.
            raise _Refused(f"HTTP {status}: check {PREFIX}LLM_API_KEY and what it may use")
        message, parameter = _error_of(raw)
        if status == 400 and self._adapt(parameter, body):
            raise _Transient(f"HTTP {status}: {parameter} is not supported")
        detail = one_line(message.replace(self._key, "***") if self._key else message, 160)
        raise _Refused(f"HTTP {status}: {detail}" if detail else f"HTTP {status}")

    def _adapt(self, parameter: str, body: dict[str, Any]) -> bool:
        """Drop or rename a parameter the endpoint names as unsupported; False if that is not the trouble.

        Reasoning models take max_completion_tokens and no temperature, older servers max_tokens only.
        """
        if parameter not in ("max_tokens", "temperature") or parameter not in body:
            return False
        value = self._parameters.pop(parameter, None)
        if parameter == "max_tokens" and value is not None:
            self._parameters["max_completion_tokens"] = value
        return True


def _endpoint(base_url: str) -> httpx.URL:
    """The completions address under `base_url`, whose query, if any, is kept."""
    try:
        base = httpx.URL(base_url)
        if base.scheme not in ("http", "https") or not base.host:
            raise httpx.InvalidURL("no host")
    except httpx.InvalidURL:
        raise UserError(f"{PREFIX}LLM_BASE_URL is not an http(s) URL, e.g. https://api.example.com/v1") from None
    return base.copy_with(path=base.path.rstrip("/") + "/chat/completions")


def _usable_key(key: str) -> str:
    """The key without the line end a secret file leaves, if it can stand in a header."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"{PREFIX}LLM_API_KEY holds characters that an HTTP header cannot carry; set it again")
    return key


def _retry_after_seconds(headers: httpx.Headers) -> float | None:
    """Retry-After as seconds from now, from either of its two forms; None if absent or unreadable."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError):
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max((aware - datetime.now(UTC)).total_seconds(), 0.0)


class _ErrorBody(BaseModel):
    class Error(BaseModel):
        message: str = ""
        param: str | None = None

    error: Error


def _error_of(raw: bytes) -> tuple[str, str]:
    """Message and parameter name of an error body in the usual shape, or blanks."""
    try:
        error = _ErrorBody.model_validate_json(raw).error
    except ValidationError:
        return "", ""
    return error.message, error.param or ""


def _reported(usage: Any, name: str, estimate: int) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_BELIEVABLE_TOKENS:
        return value
    return estimate


def _content(choice: _Choice) -> str:
    if choice.message.refusal:
        raise _BadAnswer("the model declined to answer")
    if choice.finish_reason == "length":
        raise _BadAnswer(f"longer than {MAX_COMPLETION_TOKENS} tokens; be brief")
    if not choice.message.content:
        raise _BadAnswer("empty")
    return choice.message.content


def _parse_analysis(content: str) -> Analysis:
    try:
        return Analysis.model_validate_json(content)
    except ValidationError as error:
        raise _BadAnswer("; ".join(_explain(error))) from None


def _check_citations(analysis: Analysis, given: frozenset[str]) -> None:
    """Refuse an answer that cites evidence that is not there, or that claims a cause and cites none."""
    if not given:
        return
    said = [analysis.summary, *analysis.patterns, analysis.root_cause, analysis.recommended_action]
    cited = {one.strip() for text in said for ids in _CITATION.findall(text) for one in re.split("[,;]", ids)}
    if unknown := sorted(cited - given):
        raise _BadAnswer(f"cites evidence that is not in the data: {', '.join(unknown[:4])}")
    if analysis.root_cause.startswith(HYPOTHESIS) and not _CITATION.search(analysis.root_cause):
        raise _BadAnswer("root_cause: cites no evidence; name the ids it rests on, e.g. [R1]")


def _explain(error: ValidationError) -> list[str]:
    """Field and rule of up to four problems; never a value or an invented field name, which the data may have set."""
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    lines = []
    for problem in problems[:4]:
        field = problem["loc"][0] if problem["loc"] else ""
        known = field in Analysis.model_fields
        if problem["type"] == "json_invalid":
            lines.append("not valid JSON")
        elif problem["type"] == "extra_forbidden" or (field and not known):
            lines.append("a field that is not in the schema")
        else:
            lines.append(f"{field}: {problem['msg']}" if known else "not a JSON object")
    return list(dict.fromkeys(lines))
