"""A landing batch as it is sent to the Spark server."""

from __future__ import annotations

from pydantic import SecretStr
from pyspark import cloudpickle

from alert_assets.ingest.batch import LandingBatch
from alert_assets.settings import Settings
from alert_assets_tests.conftest import settings_in


def test_the_batch_that_is_sent_to_the_server_carries_no_secret(tmp_path):
    secrets = [name for name, field in Settings.model_fields.items() if field.annotation is SecretStr]
    assert {"llm_api_key", "state_url"} <= set(secrets)
    scheme = dict.fromkeys(("heartbeat_url", "schema_registry_url"), "https")
    urls = {name: f"{scheme.get(name, 'postgresql')}://alerts:hunter2-{name}@db/alerts" for name in secrets}
    settings = settings_in(tmp_path, **urls)

    sent = cloudpickle.dumps(LandingBatch(settings))

    assert b"hunter2" not in sent
    received = cloudpickle.loads(sent).settings
    kept = set(Settings.model_fields) - set(secrets)
    assert {name: getattr(received, name) for name in kept} == {name: getattr(settings, name) for name in kept}
