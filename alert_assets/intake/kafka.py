"""From topics of Kafka to the landing zone: consumed, landed durably, and only then committed.

Killed in between, it consumes the same messages again: they land twice, with the same identity, and count once.
"""

from __future__ import annotations

from concurrent.futures import Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from alert_assets.errors import UserError
from alert_assets.intake.json_lines import lines_of
from alert_assets.intake.payload import mapped
from alert_assets.intake.writer import NotWrittenError
from alert_assets.kernel.clock import utc_now

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from alert_assets.intake.senders.sender import Sender
    from alert_assets.intake.writer import DurableWriter
    from alert_assets.settings import Settings

#: Messages that land, and are committed, together; and how long they are waited for.
_MESSAGES, _SECONDS = 1_000, 0.5


def consumer(properties: Mapping[str, str]) -> Any:
    """Return a consumer by librdkafka's properties, which commits nothing by itself.

    Raises:
        UserError: the extra is not installed, or a property is wrong.
    """
    try:
        from confluent_kafka import Consumer, KafkaException
    except ImportError:
        raise UserError("Kafka needs confluent-kafka: pip install 'alert-assets[kafka]'.") from None
    try:
        return Consumer({"auto.offset.reset": "earliest", **properties, "enable.auto.commit": "false"})
    except KafkaException as error:
        raise UserError(f"Kafka does not take these properties: {error}. See librdkafka's CONFIGURATION.md.") from None


def bridge(
    source: Any, writer: DurableWriter, sender: Sender | None, settings: Settings, stop: threading.Event
) -> None:
    """Land what the consumer's topics have until `stop` is set.

    Args:
        source: a consumer that is subscribed.
        sender: whose payloads the messages are; None for events of our own contract.

    Raises:
        UserError: Kafka refuses for good: the credentials, the topic.
    """
    from confluent_kafka import KafkaException

    try:
        while not stop.is_set():
            messages = source.consume(_MESSAGES, _SECONDS)
            lines = b"".join(line for message in messages for line in _lines(message, sender, settings))
            if lines and not _land(lines, writer, stop):
                return
            if messages:
                _commit(source)
    except KafkaException as error:
        raise UserError(f"Kafka refuses: {error}") from None
    finally:
        source.close()


def _value(message: Any) -> bytes | None:
    from confluent_kafka import KafkaException

    error = message.error()
    if error is None:
        found: bytes | None = message.value()
        return found
    if _is_passing(error):
        return None
    raise KafkaException(error)


def _commit(source: Any) -> None:
    """Commit what was consumed; where that cannot be done now, it is consumed again, by whoever has the partition."""
    from confluent_kafka import KafkaException

    try:
        source.commit(asynchronous=False)
    except KafkaException as exception:
        if not _is_passing(exception.args[0]):
            raise


def _is_passing(error: Any) -> bool:
    """Whether librdkafka goes on by itself: the broker is away, or the group deals out its partitions anew."""
    from confluent_kafka import KafkaError

    anew = (KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS)
    # Negative codes are librdkafka's own.
    return not error.fatal() and (error.retriable() or error.code() < 0 or error.code() in anew)


def _lines(message: Any, sender: Sender | None, settings: Settings) -> list[bytes]:
    value = _value(message)
    if not value:
        return []
    if sender is None:
        return [line + b"\n" for line in lines_of(value)]
    return mapped(sender, value, {}, _came_at(message), settings)


def _came_at(message: Any) -> datetime:
    """When the topic had it: the same whenever it is consumed, so that it becomes the same events."""
    _kind, since_epoch_ms = message.timestamp()
    return datetime.fromtimestamp(since_epoch_ms / 1000, UTC) if since_epoch_ms > 0 else utc_now()


def _land(lines: bytes, writer: DurableWriter, stop: threading.Event) -> bool:
    """Write until it is durable; False when the end came first."""
    while True:
        durable: Future[Exception | None] = Future()
        done: Callable[[Exception | None], object] = durable.set_result
        try:
            writer.submit(lines, done)
            error = durable.result()
        except NotWrittenError as refusal:
            error = refusal
        if error is None:
            return True
        if not isinstance(error, NotWrittenError):
            raise error
        if stop.wait(error.retry_after_seconds):
            return False
