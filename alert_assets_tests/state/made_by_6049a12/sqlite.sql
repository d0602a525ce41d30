BEGIN TRANSACTION;
CREATE TABLE alert_assets_schema (
	one_row INTEGER NOT NULL CHECK (one_row = 1), 
	version INTEGER NOT NULL, 
	made_at DATETIME NOT NULL, 
	PRIMARY KEY (one_row)
);
INSERT INTO "alert_assets_schema" VALUES(1,2,'2026-11-26 22:58:15.264480');
CREATE TABLE audit (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at DATETIME NOT NULL, 
	who TEXT NOT NULL, 
	action TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	why TEXT NOT NULL, 
	details JSON NOT NULL
);
INSERT INTO "audit" VALUES(1,'2026-02-14 10:01:00.000000','ana','breaker_open','analysis','model is off','{"until": null}');
CREATE TABLE breaker_admissions (
	run_id TEXT NOT NULL, 
	breaker TEXT NOT NULL, 
	at DATETIME NOT NULL, 
	as_probe BOOLEAN NOT NULL, 
	job TEXT, 
	PRIMARY KEY (run_id, breaker)
);
INSERT INTO "breaker_admissions" VALUES('r1','pipeline','2026-02-14 10:00:00.000000',0,NULL);
INSERT INTO "breaker_admissions" VALUES('r2','pipeline','2026-02-14 10:00:00.000000',0,NULL);
INSERT INTO "breaker_admissions" VALUES('r3','pipeline','2026-02-14 10:00:00.000000',0,NULL);
CREATE TABLE breaker_transitions (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	breaker TEXT NOT NULL, 
	at DATETIME NOT NULL, 
	from_state TEXT NOT NULL, 
	to_state TEXT NOT NULL, 
	cause TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	run_id TEXT, 
	who TEXT, 
	until DATETIME
);
INSERT INTO "breaker_transitions" VALUES(1,'pipeline','2026-02-14 10:00:00.000000','CLOSED','OPEN','consecutive_failures','3 runs in a row failed, the last was run r3: ValueError: no','r3',NULL,NULL);
INSERT INTO "breaker_transitions" VALUES(2,'analysis','2026-02-14 10:01:00.000000','CLOSED','OPEN','forced_open','model is off',NULL,'ana',NULL);
CREATE TABLE channel_states (
	channel TEXT NOT NULL, 
	consecutive_failures INTEGER NOT NULL, 
	paused_until DATETIME, 
	last_error TEXT, 
	PRIMARY KEY (channel)
);
INSERT INTO "channel_states" VALUES('pagerduty',0,NULL,NULL);
INSERT INTO "channel_states" VALUES('log',0,NULL,NULL);
INSERT INTO "channel_states" VALUES('slack',0,NULL,NULL);
CREATE TABLE check_results (
	table_name TEXT NOT NULL, 
	check_name TEXT NOT NULL, 
	passed BOOLEAN NOT NULL, 
	severity TEXT NOT NULL, 
	blocking BOOLEAN NOT NULL, 
	at DATETIME NOT NULL, 
	run_id TEXT, 
	description TEXT, 
	checked_batch_id BIGINT, 
	PRIMARY KEY (table_name, check_name)
);
INSERT INTO "check_results" VALUES('gold_incidents','schema',1,'ERROR',1,'2026-02-14 10:01:00.000000',NULL,NULL,NULL);
CREATE TABLE circuit_breakers (
	breaker TEXT NOT NULL, 
	state TEXT NOT NULL, 
	forced BOOLEAN NOT NULL, 
	since DATETIME, 
	cause TEXT, 
	reason TEXT, 
	period BIGINT NOT NULL, 
	consecutive_failures INTEGER NOT NULL, 
	retry_at DATETIME, 
	timeout_seconds FLOAT, 
	probe_run_id TEXT, 
	probe_heard_at DATETIME, 
	probe_host TEXT, 
	probe_pid INTEGER, 
	probe_started FLOAT, 
	forced_by TEXT, 
	forced_why TEXT, 
	forced_until DATETIME, 
	PRIMARY KEY (breaker)
);
INSERT INTO "circuit_breakers" VALUES('pipeline','OPEN',0,'2026-02-14 10:00:00.000000','consecutive_failures','3 runs in a row failed, the last was run r3: ValueError: no',0,0,'2026-02-14 10:05:00.000000',300.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "circuit_breakers" VALUES('analysis','OPEN',1,'2026-02-14 10:01:00.000000','forced_open','model is off',0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'ana','model is off',NULL);
CREATE TABLE decisions (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at DATETIME NOT NULL, 
	outbox_id BIGINT, 
	episode TEXT, 
	destination TEXT NOT NULL, 
	outcome TEXT NOT NULL, 
	reason TEXT NOT NULL
);
INSERT INTO "decisions" VALUES(1,'2026-02-14 10:01:00.000000',1,'ad10339a1c006f09','pagerduty','notified','it is new');
INSERT INTO "decisions" VALUES(2,'2026-02-14 10:01:00.000000',1,'ad10339a1c006f09','slack: #alerts','notified','it is new');
INSERT INTO "decisions" VALUES(3,'2026-02-14 10:01:00.000000',1,'ad10339a1c006f09','log','notified','it is new');
INSERT INTO "decisions" VALUES(4,'2026-02-14 10:01:00.000000',2,'9494e9933e6f7d3f','pagerduty','notified','it is new');
INSERT INTO "decisions" VALUES(5,'2026-02-14 10:01:00.000000',2,'9494e9933e6f7d3f','slack: #alerts','notified','it is new');
INSERT INTO "decisions" VALUES(6,'2026-02-14 10:01:00.000000',2,'9494e9933e6f7d3f','log','notified','it is new');
INSERT INTO "decisions" VALUES(7,'2026-02-14 10:01:00.000000',3,'02dd13d31fbfab7a','pagerduty','notified','it is new');
INSERT INTO "decisions" VALUES(8,'2026-02-14 10:01:00.000000',3,'02dd13d31fbfab7a','slack: #alerts','notified','it is new');
INSERT INTO "decisions" VALUES(9,'2026-02-14 10:01:00.000000',3,'02dd13d31fbfab7a','log','notified','it is new');
CREATE TABLE deliveries (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	idempotency_key TEXT NOT NULL, 
	episode TEXT NOT NULL, 
	channel TEXT NOT NULL, 
	seq INTEGER NOT NULL, 
	destination TEXT NOT NULL, 
	recipients JSON NOT NULL, 
	action TEXT NOT NULL, 
	payload JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	status TEXT NOT NULL CHECK (status IN ('pending', 'sent', 'dead')), 
	attempts INTEGER NOT NULL, 
	next_attempt_at DATETIME NOT NULL, 
	claimed_by TEXT, 
	claimed_until DATETIME, 
	sent_at DATETIME, 
	reference TEXT, 
	last_error TEXT, 
	UNIQUE (idempotency_key)
);
INSERT INTO "deliveries" VALUES(1,'ad10339a1c006f09/pagerduty/1','ad10339a1c006f09','pagerduty',1,'pagerduty','[]','open','{"kind": "breaker_transition", "episode": "breaker/pipeline", "severity": "CRITICAL", "title": "Circuit breaker pipeline: CLOSED to OPEN", "at": "2026-02-14T10:00:00+00:00", "since": "2026-02-14T10:00:00+00:00", "status": "firing", "description": "3 runs in a row failed, the last was run r3: ValueError: no Guarded: event, bronze_events, bronze_quarantine, silver_alerts, gold_incidents, bronze_held.", "source": "alert_assets", "application": null, "table": null, "pipeline": "pipeline", "run_id": "r3", "labels": {"cause": "consecutive_failures"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history pipeline`); when it is gone, `alert-assets breaker reset pipeline --why ...`, or wait for the probe.", "links": {}, "count": 1}','2026-02-14 10:01:00.000000','sent',1,'2026-02-14 10:01:00.000000',NULL,NULL,'2026-02-14 10:01:00.058165','pagerduty-1',NULL);
INSERT INTO "deliveries" VALUES(2,'ad10339a1c006f09/slack/1','ad10339a1c006f09','slack',1,'slack: #alerts','["#alerts"]','open','{"kind": "breaker_transition", "episode": "breaker/pipeline", "severity": "CRITICAL", "title": "Circuit breaker pipeline: CLOSED to OPEN", "at": "2026-02-14T10:00:00+00:00", "since": "2026-02-14T10:00:00+00:00", "status": "firing", "description": "3 runs in a row failed, the last was run r3: ValueError: no Guarded: event, bronze_events, bronze_quarantine, silver_alerts, gold_incidents, bronze_held.", "source": "alert_assets", "application": null, "table": null, "pipeline": "pipeline", "run_id": "r3", "labels": {"cause": "consecutive_failures"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history pipeline`); when it is gone, `alert-assets breaker reset pipeline --why ...`, or wait for the probe.", "links": {}, "count": 1}','2026-02-14 10:01:00.000000','sent',1,'2026-02-14 10:01:00.000000',NULL,NULL,'2026-02-14 10:01:00.428330','slack-1',NULL);
INSERT INTO "deliveries" VALUES(3,'ad10339a1c006f09/log/1','ad10339a1c006f09','log',1,'log','[]','open','{"kind": "breaker_transition", "episode": "breaker/pipeline", "severity": "CRITICAL", "title": "Circuit breaker pipeline: CLOSED to OPEN", "at": "2026-02-14T10:00:00+00:00", "since": "2026-02-14T10:00:00+00:00", "status": "firing", "description": "3 runs in a row failed, the last was run r3: ValueError: no Guarded: event, bronze_events, bronze_quarantine, silver_alerts, gold_incidents, bronze_held.", "source": "alert_assets", "application": null, "table": null, "pipeline": "pipeline", "run_id": "r3", "labels": {"cause": "consecutive_failures"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history pipeline`); when it is gone, `alert-assets breaker reset pipeline --why ...`, or wait for the probe.", "links": {}, "count": 1}','2026-02-14 10:01:00.000000','sent',1,'2026-02-14 10:01:00.000000',NULL,NULL,'2026-02-14 10:01:00.219422','log-1',NULL);
INSERT INTO "deliveries" VALUES(4,'9494e9933e6f7d3f/pagerduty/1','9494e9933e6f7d3f','pagerduty',1,'pagerduty','[]','open','{"kind": "breaker_transition", "episode": "breaker/analysis", "severity": "CRITICAL", "title": "Circuit breaker analysis: CLOSED to OPEN", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "model is off Guarded: platinum_incidents.", "source": "alert_assets", "application": null, "table": null, "pipeline": "analysis", "run_id": null, "labels": {"cause": "forced_open", "who": "ana"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history analysis`); when it is gone, `alert-assets breaker reset analysis --why ...`, or wait for the probe.", "links": {}, "count": 1}','2026-02-14 10:01:00.000000','sent',1,'2026-02-14 10:01:00.000000',NULL,NULL,'2026-02-14 10:01:00.080204','pagerduty-2',NULL);
INSERT INTO "deliveries" VALUES(5,'9494e9933e6f7d3f/slack/1','9494e9933e6f7d3f','slack',1,'slack: #alerts','["#alerts"]','open','{"kind": "breaker_transition", "episode": "breaker/analysis", "severity": "CRITICAL", "title": "Circuit breaker analysis: CLOSED to OPEN", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "model is off Guarded: platinum_incidents.", "source": "alert_assets", "application": null, "table": null, "pipeline": "analysis", "run_id": null, "labels": {"cause": "forced_open", "who": "ana"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history analysis`); when it is gone, `alert-assets breaker reset analysis --why ...`, or wait for the probe.", "links": {}, "count": 1}','2026-02-14 10:01:00.000000','sent',1,'2026-02-14 10:01:00.000000',NULL,NULL,'2026-02-14 10:01:00.479115','slack-2',NULL);
INSERT INTO "deliveries" VALUES(6,'9494e9933e6f7d3f/log/1','9494e9933e6f7d3f','log',1,'log','[]','open','{"kind": "breaker_transition", "episode": "breaker/analysis", "severity": "CRITICAL", "title": "Circuit breaker analysis: CLOSED to OPEN", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "model is off Guarded: platinum_incidents.", "source": "alert_assets", "application": null, "table": null, "pipeline": "analysis", "run_id": null, "labels": {"cause": "forced_open", "who": "ana"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history analysis`); when it is gone, `alert-assets breaker reset analysis --why ...`, or wait for the probe.", "links": {}, "count": 1}','2026-02-14 10:01:00.000000','sent',1,'2026-02-14 10:01:00.000000',NULL,NULL,'2026-02-14 10:01:00.243954','log-2',NULL);
INSERT INTO "deliveries" VALUES(7,'02dd13d31fbfab7a/pagerduty/1','02dd13d31fbfab7a','pagerduty',1,'pagerduty','[]','open','{"kind": "incident", "episode": "disk", "severity": "CRITICAL", "title": "disk is full", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "", "source": "alert_assets", "application": "payments-api", "table": null, "pipeline": null, "run_id": null, "labels": {}, "error": null, "stack_trace": null, "owner": null, "runbook_url": null, "suggested_action": null, "links": {}, "count": 1}','2026-02-14 10:01:00.000000','sent',1,'2026-02-14 10:01:00.000000',NULL,NULL,'2026-02-14 10:01:00.097284','pagerduty-3',NULL);
INSERT INTO "deliveries" VALUES(8,'02dd13d31fbfab7a/slack/1','02dd13d31fbfab7a','slack',1,'slack: #alerts','["#alerts"]','open','{"kind": "incident", "episode": "disk", "severity": "CRITICAL", "title": "disk is full", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "", "source": "alert_assets", "application": "payments-api", "table": null, "pipeline": null, "run_id": null, "labels": {}, "error": null, "stack_trace": null, "owner": null, "runbook_url": null, "suggested_action": null, "links": {}, "count": 1}','2026-02-14 10:01:00.000000','sent',1,'2026-02-14 10:01:00.000000',NULL,NULL,'2026-02-14 10:01:00.555377','slack-3',NULL);
INSERT INTO "deliveries" VALUES(9,'02dd13d31fbfab7a/log/1','02dd13d31fbfab7a','log',1,'log','[]','open','{"kind": "incident", "episode": "disk", "severity": "CRITICAL", "title": "disk is full", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "", "source": "alert_assets", "application": "payments-api", "table": null, "pipeline": null, "run_id": null, "labels": {}, "error": null, "stack_trace": null, "owner": null, "runbook_url": null, "suggested_action": null, "links": {}, "count": 1}','2026-02-14 10:01:00.000000','sent',1,'2026-02-14 10:01:00.000000',NULL,NULL,'2026-02-14 10:01:00.263039','log-3',NULL);
CREATE TABLE digests (
	id TEXT NOT NULL, 
	kind TEXT NOT NULL CHECK (kind IN ('grouped', 'rate_limited')), 
	episode TEXT NOT NULL, 
	channel TEXT, 
	recipients JSON, 
	opened_at DATETIME NOT NULL, 
	due_at DATETIME NOT NULL, 
	severity TEXT NOT NULL, 
	counts JSON NOT NULL, 
	sent_at DATETIME, 
	PRIMARY KEY (id)
);
CREATE TABLE episodes (
	id TEXT NOT NULL, 
	fingerprint TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	severity TEXT NOT NULL, 
	title TEXT NOT NULL, 
	application TEXT, 
	table_name TEXT, 
	state TEXT NOT NULL CHECK (state IN ('open', 'acknowledged', 'resolved')), 
	opened_at DATETIME NOT NULL, 
	last_at DATETIME NOT NULL, 
	count BIGINT NOT NULL, 
	alert JSON NOT NULL, 
	acknowledged_at DATETIME, 
	acknowledged_by TEXT, 
	resolved_at DATETIME, 
	resolved_by TEXT, 
	group_key TEXT, 
	told_at DATETIME, 
	told_severity TEXT, 
	told_as TEXT CHECK (told_as IN ('notified', 'grouped', 'rate_limited')), 
	owed TEXT, 
	grouped_under TEXT, 
	steps_done JSON NOT NULL, 
	reminded_at JSON NOT NULL, 
	acknowledge_overdue BOOLEAN NOT NULL, 
	resolve_overdue BOOLEAN NOT NULL, 
	reopened INTEGER NOT NULL, 
	look_at DATETIME, 
	PRIMARY KEY (id)
);
INSERT INTO "episodes" VALUES('9494e9933e6f7d3f','breaker/analysis','breaker_transition','CRITICAL','Circuit breaker analysis: CLOSED to OPEN',NULL,NULL,'open','2026-02-14 10:01:00.000000','2026-02-14 10:01:00.000000',1,'{"kind": "breaker_transition", "episode": "breaker/analysis", "severity": "CRITICAL", "title": "Circuit breaker analysis: CLOSED to OPEN", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "model is off Guarded: platinum_incidents.", "source": "alert_assets", "application": null, "table": null, "pipeline": "analysis", "run_id": null, "labels": {"cause": "forced_open", "who": "ana"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history analysis`); when it is gone, `alert-assets breaker reset analysis --why ...`, or wait for the probe.", "links": {}, "count": 1}',NULL,NULL,NULL,NULL,'P1 episode=breaker/analysis','2026-02-14 10:01:00.000000','CRITICAL','notified',NULL,NULL,'[]','[]',0,0,0,'2026-02-14 10:06:00.000000');
INSERT INTO "episodes" VALUES('ad10339a1c006f09','breaker/pipeline','breaker_transition','CRITICAL','Circuit breaker pipeline: CLOSED to OPEN',NULL,NULL,'open','2026-02-14 10:01:00.000000','2026-02-14 10:00:00.000000',1,'{"kind": "breaker_transition", "episode": "breaker/pipeline", "severity": "CRITICAL", "title": "Circuit breaker pipeline: CLOSED to OPEN", "at": "2026-02-14T10:00:00+00:00", "since": "2026-02-14T10:00:00+00:00", "status": "firing", "description": "3 runs in a row failed, the last was run r3: ValueError: no Guarded: event, bronze_events, bronze_quarantine, silver_alerts, gold_incidents, bronze_held.", "source": "alert_assets", "application": null, "table": null, "pipeline": "pipeline", "run_id": "r3", "labels": {"cause": "consecutive_failures"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history pipeline`); when it is gone, `alert-assets breaker reset pipeline --why ...`, or wait for the probe.", "links": {}, "count": 1}',NULL,NULL,NULL,NULL,'P1 episode=breaker/pipeline','2026-02-14 10:01:00.000000','CRITICAL','notified',NULL,NULL,'[]','[]',0,0,0,'2026-02-14 10:06:00.000000');
INSERT INTO "episodes" VALUES('02dd13d31fbfab7a','disk','incident','CRITICAL','disk is full','payments-api',NULL,'open','2026-02-14 10:01:00.000000','2026-02-14 10:01:00.000000',1,'{"kind": "incident", "episode": "disk", "severity": "CRITICAL", "title": "disk is full", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "", "source": "alert_assets", "application": "payments-api", "table": null, "pipeline": null, "run_id": null, "labels": {}, "error": null, "stack_trace": null, "owner": null, "runbook_url": null, "suggested_action": null, "links": {}, "count": 1}',NULL,NULL,NULL,NULL,'P1 episode=disk','2026-02-14 10:01:00.000000','CRITICAL','notified',NULL,NULL,'[]','[]',0,0,0,'2026-02-14 10:06:00.000000');
CREATE TABLE outbox (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	created_at DATETIME NOT NULL, 
	kind TEXT NOT NULL, 
	idempotency_key TEXT NOT NULL, 
	severity TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	payload JSON NOT NULL, 
	status TEXT DEFAULT 'pending' NOT NULL, 
	UNIQUE (idempotency_key)
);
INSERT INTO "outbox" VALUES(1,'2026-02-14 10:00:00.000000','breaker_transition','breaker_transition/1','CRITICAL','Circuit breaker pipeline: CLOSED to OPEN','{"kind": "breaker_transition", "episode": "breaker/pipeline", "severity": "CRITICAL", "title": "Circuit breaker pipeline: CLOSED to OPEN", "at": "2026-02-14T10:00:00+00:00", "since": "2026-02-14T10:00:00+00:00", "status": "firing", "description": "3 runs in a row failed, the last was run r3: ValueError: no Guarded: event, bronze_events, bronze_quarantine, silver_alerts, gold_incidents, bronze_held.", "source": "alert_assets", "application": null, "table": null, "pipeline": "pipeline", "run_id": "r3", "labels": {"cause": "consecutive_failures"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history pipeline`); when it is gone, `alert-assets breaker reset pipeline --why ...`, or wait for the probe.", "links": {}, "count": 1}','dispatched');
INSERT INTO "outbox" VALUES(2,'2026-02-14 10:01:00.000000','breaker_transition','breaker_transition/2','CRITICAL','Circuit breaker analysis: CLOSED to OPEN','{"kind": "breaker_transition", "episode": "breaker/analysis", "severity": "CRITICAL", "title": "Circuit breaker analysis: CLOSED to OPEN", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "model is off Guarded: platinum_incidents.", "source": "alert_assets", "application": null, "table": null, "pipeline": "analysis", "run_id": null, "labels": {"cause": "forced_open", "who": "ana"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history analysis`); when it is gone, `alert-assets breaker reset analysis --why ...`, or wait for the probe.", "links": {}, "count": 1}','dispatched');
INSERT INTO "outbox" VALUES(3,'2026-02-14 10:01:00.000000','incident','test/1','CRITICAL','disk is full','{"kind": "incident", "episode": "disk", "severity": "CRITICAL", "title": "disk is full", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "", "source": "alert_assets", "application": "payments-api", "table": null, "pipeline": null, "run_id": null, "labels": {}, "error": null, "stack_trace": null, "owner": null, "runbook_url": null, "suggested_action": null, "links": {}, "count": 1}','dispatched');
CREATE TABLE run_outcomes (
	run_id TEXT NOT NULL, 
	breaker TEXT NOT NULL, 
	outcome TEXT NOT NULL CHECK (outcome IN ('success', 'failure', 'neutral')), 
	at DATETIME NOT NULL, 
	period BIGINT, 
	reported_by TEXT NOT NULL, 
	error TEXT, 
	job TEXT, 
	started_at DATETIME, 
	cpu_peak_percent FLOAT, 
	memory_peak_percent FLOAT, 
	PRIMARY KEY (run_id, breaker)
);
INSERT INTO "run_outcomes" VALUES('r1','pipeline','failure','2026-02-14 10:00:00.000000',0,'executor','ValueError: no','bronze_to_gold',NULL,NULL,NULL);
INSERT INTO "run_outcomes" VALUES('r2','pipeline','failure','2026-02-14 10:00:00.000000',0,'executor','ValueError: no','bronze_to_gold',NULL,NULL,NULL);
INSERT INTO "run_outcomes" VALUES('r3','pipeline','failure','2026-02-14 10:00:00.000000',0,'executor','ValueError: no','bronze_to_gold',NULL,NULL,NULL);
CREATE TABLE silences (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	kind TEXT NOT NULL CHECK (kind IN ('silence', 'maintenance')), 
	conditions JSON NOT NULL, 
	starts_at DATETIME NOT NULL, 
	until DATETIME NOT NULL, 
	who TEXT NOT NULL, 
	why TEXT NOT NULL, 
	made_at DATETIME NOT NULL
);
CREATE INDEX breaker_transitions_of ON breaker_transitions (breaker, id);
CREATE TRIGGER breaker_transitions_update BEFORE UPDATE ON breaker_transitions BEGIN SELECT RAISE(ABORT, 'breaker_transitions is append-only'); END;
CREATE TRIGGER breaker_transitions_delete BEFORE DELETE ON breaker_transitions BEGIN SELECT RAISE(ABORT, 'breaker_transitions is append-only'); END;
CREATE TRIGGER breaker_transitions_replace BEFORE INSERT ON breaker_transitions WHEN EXISTS (SELECT 1 FROM breaker_transitions WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'breaker_transitions is append-only'); END;
CREATE INDEX run_outcomes_at ON run_outcomes (at);
CREATE INDEX run_outcomes_counted ON run_outcomes (breaker, period, at);
CREATE INDEX outbox_by_status ON outbox (status, id);
CREATE TRIGGER audit_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE INDEX episodes_owed ON episodes (owed);
CREATE INDEX episodes_by_state ON episodes (state, last_at);
CREATE INDEX episodes_by_group ON episodes (told_as, told_at);
CREATE INDEX episodes_by_fingerprint ON episodes (fingerprint, opened_at);
CREATE UNIQUE INDEX episodes_one_open ON episodes (fingerprint) WHERE state <> 'resolved';
CREATE UNIQUE INDEX decisions_once ON decisions (outbox_id, destination);
CREATE INDEX decisions_of_episode ON decisions (episode, id);
CREATE TRIGGER decisions_update BEFORE UPDATE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions is append-only'); END;
CREATE TRIGGER decisions_delete BEFORE DELETE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions is append-only'); END;
CREATE TRIGGER decisions_replace BEFORE INSERT ON decisions WHEN EXISTS (SELECT 1 FROM decisions WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'decisions is append-only'); END;
CREATE INDEX deliveries_by_time ON deliveries (created_at);
CREATE UNIQUE INDEX deliveries_in_order ON deliveries (episode, channel, seq);
CREATE INDEX deliveries_due ON deliveries (status, channel, next_attempt_at);
CREATE INDEX digests_due ON digests (sent_at, due_at);
CREATE INDEX silences_until ON silences (until);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('breaker_transitions',2);
INSERT INTO "sqlite_sequence" VALUES('outbox',3);
INSERT INTO "sqlite_sequence" VALUES('audit',1);
INSERT INTO "sqlite_sequence" VALUES('deliveries',9);
INSERT INTO "sqlite_sequence" VALUES('decisions',9);
COMMIT;
