CREATE FUNCTION public.audit_refuse() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'audit is append-only'; END $$;
CREATE FUNCTION public.breaker_transitions_refuse() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'breaker_transitions is append-only'; END $$;
CREATE FUNCTION public.decisions_refuse() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'decisions is append-only'; END $$;
CREATE TABLE public.alert_assets_schema (
    one_row integer NOT NULL,
    version integer NOT NULL,
    made_at timestamp with time zone NOT NULL,
    CONSTRAINT alert_assets_schema_one_row_check CHECK ((one_row = 1))
);
CREATE SEQUENCE public.alert_assets_schema_one_row_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.alert_assets_schema_one_row_seq OWNED BY public.alert_assets_schema.one_row;
CREATE TABLE public.audit (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    who text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    why text NOT NULL,
    details json NOT NULL
);
CREATE SEQUENCE public.audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.audit_id_seq OWNED BY public.audit.id;
CREATE TABLE public.breaker_admissions (
    run_id text NOT NULL,
    breaker text NOT NULL,
    at timestamp with time zone NOT NULL,
    as_probe boolean NOT NULL,
    job text
);
CREATE TABLE public.breaker_transitions (
    id bigint NOT NULL,
    breaker text NOT NULL,
    at timestamp with time zone NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    cause text NOT NULL,
    reason text NOT NULL,
    run_id text,
    who text,
    until timestamp with time zone
);
CREATE SEQUENCE public.breaker_transitions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.breaker_transitions_id_seq OWNED BY public.breaker_transitions.id;
CREATE TABLE public.channel_states (
    channel text NOT NULL,
    consecutive_failures integer NOT NULL,
    paused_until timestamp with time zone,
    last_error text
);
CREATE TABLE public.check_results (
    table_name text NOT NULL,
    check_name text NOT NULL,
    passed boolean NOT NULL,
    severity text NOT NULL,
    blocking boolean NOT NULL,
    at timestamp with time zone NOT NULL,
    run_id text,
    description text,
    checked_batch_id bigint
);
CREATE TABLE public.circuit_breakers (
    breaker text NOT NULL,
    state text NOT NULL,
    forced boolean NOT NULL,
    since timestamp with time zone,
    cause text,
    reason text,
    period bigint NOT NULL,
    consecutive_failures integer NOT NULL,
    retry_at timestamp with time zone,
    timeout_seconds double precision,
    probe_run_id text,
    probe_heard_at timestamp with time zone,
    probe_host text,
    probe_pid integer,
    probe_started double precision,
    forced_by text,
    forced_why text,
    forced_until timestamp with time zone
);
CREATE TABLE public.decisions (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    outbox_id bigint,
    episode text,
    destination text NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL
);
CREATE SEQUENCE public.decisions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.decisions_id_seq OWNED BY public.decisions.id;
CREATE TABLE public.deliveries (
    id bigint NOT NULL,
    idempotency_key text NOT NULL,
    episode text NOT NULL,
    channel text NOT NULL,
    seq integer NOT NULL,
    destination text NOT NULL,
    recipients json NOT NULL,
    action text NOT NULL,
    payload json NOT NULL,
    created_at timestamp with time zone NOT NULL,
    status text NOT NULL,
    attempts integer NOT NULL,
    next_attempt_at timestamp with time zone NOT NULL,
    claimed_by text,
    claimed_until timestamp with time zone,
    sent_at timestamp with time zone,
    reference text,
    last_error text,
    CONSTRAINT deliveries_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'sent'::text, 'dead'::text])))
);
CREATE SEQUENCE public.deliveries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.deliveries_id_seq OWNED BY public.deliveries.id;
CREATE TABLE public.digests (
    id text NOT NULL,
    kind text NOT NULL,
    episode text NOT NULL,
    channel text,
    recipients json,
    opened_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    severity text NOT NULL,
    counts json NOT NULL,
    sent_at timestamp with time zone,
    CONSTRAINT digests_kind_check CHECK ((kind = ANY (ARRAY['grouped'::text, 'rate_limited'::text])))
);
CREATE TABLE public.episodes (
    id text NOT NULL,
    fingerprint text NOT NULL,
    kind text NOT NULL,
    severity text NOT NULL,
    title text NOT NULL,
    application text,
    table_name text,
    state text NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    last_at timestamp with time zone NOT NULL,
    count bigint NOT NULL,
    alert json NOT NULL,
    acknowledged_at timestamp with time zone,
    acknowledged_by text,
    resolved_at timestamp with time zone,
    resolved_by text,
    group_key text,
    told_at timestamp with time zone,
    told_severity text,
    told_as text,
    owed text,
    grouped_under text,
    steps_done json NOT NULL,
    reminded_at json NOT NULL,
    acknowledge_overdue boolean NOT NULL,
    resolve_overdue boolean NOT NULL,
    reopened integer NOT NULL,
    look_at timestamp with time zone,
    CONSTRAINT episodes_state_check CHECK ((state = ANY (ARRAY['open'::text, 'acknowledged'::text, 'resolved'::text]))),
    CONSTRAINT episodes_told_as_check CHECK ((told_as = ANY (ARRAY['notified'::text, 'grouped'::text, 'rate_limited'::text])))
);
CREATE TABLE public.outbox (
    id bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    idempotency_key text NOT NULL,
    severity text NOT NULL,
    subject text NOT NULL,
    payload json NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL
);
CREATE SEQUENCE public.outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.outbox_id_seq OWNED BY public.outbox.id;
CREATE TABLE public.run_outcomes (
    run_id text NOT NULL,
    breaker text NOT NULL,
    outcome text NOT NULL,
    at timestamp with time zone NOT NULL,
    period bigint,
    reported_by text NOT NULL,
    error text,
    job text,
    started_at timestamp with time zone,
    cpu_peak_percent double precision,
    memory_peak_percent double precision,
    CONSTRAINT run_outcomes_outcome_check CHECK ((outcome = ANY (ARRAY['success'::text, 'failure'::text, 'neutral'::text])))
);
CREATE TABLE public.silences (
    id bigint NOT NULL,
    kind text NOT NULL,
    conditions json NOT NULL,
    starts_at timestamp with time zone NOT NULL,
    until timestamp with time zone NOT NULL,
    who text NOT NULL,
    why text NOT NULL,
    made_at timestamp with time zone NOT NULL,
    CONSTRAINT silences_kind_check CHECK ((kind = ANY (ARRAY['silence'::text, 'maintenance'::text])))
);
CREATE SEQUENCE public.silences_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.silences_id_seq OWNED BY public.silences.id;
ALTER TABLE ONLY public.alert_assets_schema ALTER COLUMN one_row SET DEFAULT nextval('public.alert_assets_schema_one_row_seq'::regclass);
ALTER TABLE ONLY public.audit ALTER COLUMN id SET DEFAULT nextval('public.audit_id_seq'::regclass);
ALTER TABLE ONLY public.breaker_transitions ALTER COLUMN id SET DEFAULT nextval('public.breaker_transitions_id_seq'::regclass);
ALTER TABLE ONLY public.decisions ALTER COLUMN id SET DEFAULT nextval('public.decisions_id_seq'::regclass);
ALTER TABLE ONLY public.deliveries ALTER COLUMN id SET DEFAULT nextval('public.deliveries_id_seq'::regclass);
ALTER TABLE ONLY public.outbox ALTER COLUMN id SET DEFAULT nextval('public.outbox_id_seq'::regclass);
ALTER TABLE ONLY public.silences ALTER COLUMN id SET DEFAULT nextval('public.silences_id_seq'::regclass);
INSERT INTO public.alert_assets_schema VALUES (1, 2, '2026-11-26 22:58:27.546241+00');
INSERT INTO public.audit VALUES (1, '2026-02-14 10:01:00+00', 'ana', 'breaker_open', 'analysis', 'model is off', '{"until": null}');
INSERT INTO public.breaker_admissions VALUES ('r1', 'pipeline', '2026-02-14 10:00:00+00', false, NULL);
INSERT INTO public.breaker_admissions VALUES ('r2', 'pipeline', '2026-02-14 10:00:00+00', false, NULL);
INSERT INTO public.breaker_admissions VALUES ('r3', 'pipeline', '2026-02-14 10:00:00+00', false, NULL);
INSERT INTO public.breaker_transitions VALUES (1, 'pipeline', '2026-02-14 10:00:00+00', 'CLOSED', 'OPEN', 'consecutive_failures', '3 runs in a row failed, the last was run r3: ValueError: no', 'r3', NULL, NULL);
INSERT INTO public.breaker_transitions VALUES (2, 'analysis', '2026-02-14 10:01:00+00', 'CLOSED', 'OPEN', 'forced_open', 'model is off', NULL, 'ana', NULL);
INSERT INTO public.channel_states VALUES ('log', 0, NULL, NULL);
INSERT INTO public.channel_states VALUES ('slack', 0, NULL, NULL);
INSERT INTO public.channel_states VALUES ('pagerduty', 0, NULL, NULL);
INSERT INTO public.check_results VALUES ('gold_incidents', 'schema', true, 'ERROR', true, '2026-02-14 10:01:00+00', NULL, NULL, NULL);
INSERT INTO public.circuit_breakers VALUES ('pipeline', 'OPEN', false, '2026-02-14 10:00:00+00', 'consecutive_failures', '3 runs in a row failed, the last was run r3: ValueError: no', 0, 0, '2026-02-14 10:05:00+00', 300, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.circuit_breakers VALUES ('analysis', 'OPEN', true, '2026-02-14 10:01:00+00', 'forced_open', 'model is off', 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'ana', 'model is off', NULL);
INSERT INTO public.decisions VALUES (1, '2026-02-14 10:01:00+00', 1, 'ad10339a1c006f09', 'pagerduty', 'notified', 'it is new');
INSERT INTO public.decisions VALUES (2, '2026-02-14 10:01:00+00', 1, 'ad10339a1c006f09', 'slack: #alerts', 'notified', 'it is new');
INSERT INTO public.decisions VALUES (3, '2026-02-14 10:01:00+00', 1, 'ad10339a1c006f09', 'log', 'notified', 'it is new');
INSERT INTO public.decisions VALUES (4, '2026-02-14 10:01:00+00', 2, '9494e9933e6f7d3f', 'pagerduty', 'notified', 'it is new');
INSERT INTO public.decisions VALUES (5, '2026-02-14 10:01:00+00', 2, '9494e9933e6f7d3f', 'slack: #alerts', 'notified', 'it is new');
INSERT INTO public.decisions VALUES (6, '2026-02-14 10:01:00+00', 2, '9494e9933e6f7d3f', 'log', 'notified', 'it is new');
INSERT INTO public.decisions VALUES (7, '2026-02-14 10:01:00+00', 3, '02dd13d31fbfab7a', 'pagerduty', 'notified', 'it is new');
INSERT INTO public.decisions VALUES (8, '2026-02-14 10:01:00+00', 3, '02dd13d31fbfab7a', 'slack: #alerts', 'notified', 'it is new');
INSERT INTO public.decisions VALUES (9, '2026-02-14 10:01:00+00', 3, '02dd13d31fbfab7a', 'log', 'notified', 'it is new');
INSERT INTO public.deliveries VALUES (1, 'ad10339a1c006f09/pagerduty/1', 'ad10339a1c006f09', 'pagerduty', 1, 'pagerduty', '[]', 'open', '{"kind": "breaker_transition", "episode": "breaker/pipeline", "severity": "CRITICAL", "title": "Circuit breaker pipeline: CLOSED to OPEN", "at": "2026-02-14T10:00:00+00:00", "since": "2026-02-14T10:00:00+00:00", "status": "firing", "description": "3 runs in a row failed, the last was run r3: ValueError: no Guarded: event, bronze_events, bronze_quarantine, silver_alerts, gold_incidents, bronze_held.", "source": "alert_assets", "application": null, "table": null, "pipeline": "pipeline", "run_id": "r3", "labels": {"cause": "consecutive_failures"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history pipeline`); when it is gone, `alert-assets breaker reset pipeline --why ...`, or wait for the probe.", "links": {}, "count": 1}', '2026-02-14 10:01:00+00', 'sent', 1, '2026-02-14 10:01:00+00', NULL, NULL, '2026-02-14 10:01:00.39106+00', 'pagerduty-1', NULL);
INSERT INTO public.deliveries VALUES (4, '9494e9933e6f7d3f/pagerduty/1', '9494e9933e6f7d3f', 'pagerduty', 1, 'pagerduty', '[]', 'open', '{"kind": "breaker_transition", "episode": "breaker/analysis", "severity": "CRITICAL", "title": "Circuit breaker analysis: CLOSED to OPEN", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "model is off Guarded: platinum_incidents.", "source": "alert_assets", "application": null, "table": null, "pipeline": "analysis", "run_id": null, "labels": {"cause": "forced_open", "who": "ana"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history analysis`); when it is gone, `alert-assets breaker reset analysis --why ...`, or wait for the probe.", "links": {}, "count": 1}', '2026-02-14 10:01:00+00', 'sent', 1, '2026-02-14 10:01:00+00', NULL, NULL, '2026-02-14 10:01:00.52698+00', 'pagerduty-2', NULL);
INSERT INTO public.deliveries VALUES (9, '02dd13d31fbfab7a/log/1', '02dd13d31fbfab7a', 'log', 1, 'log', '[]', 'open', '{"kind": "incident", "episode": "disk", "severity": "CRITICAL", "title": "disk is full", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "", "source": "alert_assets", "application": "payments-api", "table": null, "pipeline": null, "run_id": null, "labels": {}, "error": null, "stack_trace": null, "owner": null, "runbook_url": null, "suggested_action": null, "links": {}, "count": 1}', '2026-02-14 10:01:00+00', 'sent', 1, '2026-02-14 10:01:00+00', NULL, NULL, '2026-02-14 10:01:00.564896+00', 'log-3', NULL);
INSERT INTO public.deliveries VALUES (3, 'ad10339a1c006f09/log/1', 'ad10339a1c006f09', 'log', 1, 'log', '[]', 'open', '{"kind": "breaker_transition", "episode": "breaker/pipeline", "severity": "CRITICAL", "title": "Circuit breaker pipeline: CLOSED to OPEN", "at": "2026-02-14T10:00:00+00:00", "since": "2026-02-14T10:00:00+00:00", "status": "firing", "description": "3 runs in a row failed, the last was run r3: ValueError: no Guarded: event, bronze_events, bronze_quarantine, silver_alerts, gold_incidents, bronze_held.", "source": "alert_assets", "application": null, "table": null, "pipeline": "pipeline", "run_id": "r3", "labels": {"cause": "consecutive_failures"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history pipeline`); when it is gone, `alert-assets breaker reset pipeline --why ...`, or wait for the probe.", "links": {}, "count": 1}', '2026-02-14 10:01:00+00', 'sent', 1, '2026-02-14 10:01:00+00', NULL, NULL, '2026-02-14 10:01:00.296943+00', 'log-1', NULL);
INSERT INTO public.deliveries VALUES (2, 'ad10339a1c006f09/slack/1', 'ad10339a1c006f09', 'slack', 1, 'slack: #alerts', '["#alerts"]', 'open', '{"kind": "breaker_transition", "episode": "breaker/pipeline", "severity": "CRITICAL", "title": "Circuit breaker pipeline: CLOSED to OPEN", "at": "2026-02-14T10:00:00+00:00", "since": "2026-02-14T10:00:00+00:00", "status": "firing", "description": "3 runs in a row failed, the last was run r3: ValueError: no Guarded: event, bronze_events, bronze_quarantine, silver_alerts, gold_incidents, bronze_held.", "source": "alert_assets", "application": null, "table": null, "pipeline": "pipeline", "run_id": "r3", "labels": {"cause": "consecutive_failures"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history pipeline`); when it is gone, `alert-assets breaker reset pipeline --why ...`, or wait for the probe.", "links": {}, "count": 1}', '2026-02-14 10:01:00+00', 'sent', 1, '2026-02-14 10:01:00+00', NULL, NULL, '2026-02-14 10:01:00.330614+00', 'slack-1', NULL);
INSERT INTO public.deliveries VALUES (6, '9494e9933e6f7d3f/log/1', '9494e9933e6f7d3f', 'log', 1, 'log', '[]', 'open', '{"kind": "breaker_transition", "episode": "breaker/analysis", "severity": "CRITICAL", "title": "Circuit breaker analysis: CLOSED to OPEN", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "model is off Guarded: platinum_incidents.", "source": "alert_assets", "application": null, "table": null, "pipeline": "analysis", "run_id": null, "labels": {"cause": "forced_open", "who": "ana"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history analysis`); when it is gone, `alert-assets breaker reset analysis --why ...`, or wait for the probe.", "links": {}, "count": 1}', '2026-02-14 10:01:00+00', 'sent', 1, '2026-02-14 10:01:00+00', NULL, NULL, '2026-02-14 10:01:00.45549+00', 'log-2', NULL);
INSERT INTO public.deliveries VALUES (5, '9494e9933e6f7d3f/slack/1', '9494e9933e6f7d3f', 'slack', 1, 'slack: #alerts', '["#alerts"]', 'open', '{"kind": "breaker_transition", "episode": "breaker/analysis", "severity": "CRITICAL", "title": "Circuit breaker analysis: CLOSED to OPEN", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "model is off Guarded: platinum_incidents.", "source": "alert_assets", "application": null, "table": null, "pipeline": "analysis", "run_id": null, "labels": {"cause": "forced_open", "who": "ana"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history analysis`); when it is gone, `alert-assets breaker reset analysis --why ...`, or wait for the probe.", "links": {}, "count": 1}', '2026-02-14 10:01:00+00', 'sent', 1, '2026-02-14 10:01:00+00', NULL, NULL, '2026-02-14 10:01:00.489993+00', 'slack-2', NULL);
INSERT INTO public.deliveries VALUES (8, '02dd13d31fbfab7a/slack/1', '02dd13d31fbfab7a', 'slack', 1, 'slack: #alerts', '["#alerts"]', 'open', '{"kind": "incident", "episode": "disk", "severity": "CRITICAL", "title": "disk is full", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "", "source": "alert_assets", "application": "payments-api", "table": null, "pipeline": null, "run_id": null, "labels": {}, "error": null, "stack_trace": null, "owner": null, "runbook_url": null, "suggested_action": null, "links": {}, "count": 1}', '2026-02-14 10:01:00+00', 'sent', 1, '2026-02-14 10:01:00+00', NULL, NULL, '2026-02-14 10:01:00.61025+00', 'slack-3', NULL);
INSERT INTO public.deliveries VALUES (7, '02dd13d31fbfab7a/pagerduty/1', '02dd13d31fbfab7a', 'pagerduty', 1, 'pagerduty', '[]', 'open', '{"kind": "incident", "episode": "disk", "severity": "CRITICAL", "title": "disk is full", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "", "source": "alert_assets", "application": "payments-api", "table": null, "pipeline": null, "run_id": null, "labels": {}, "error": null, "stack_trace": null, "owner": null, "runbook_url": null, "suggested_action": null, "links": {}, "count": 1}', '2026-02-14 10:01:00+00', 'sent', 1, '2026-02-14 10:01:00+00', NULL, NULL, '2026-02-14 10:01:00.650436+00', 'pagerduty-3', NULL);
INSERT INTO public.episodes VALUES ('9494e9933e6f7d3f', 'breaker/analysis', 'breaker_transition', 'CRITICAL', 'Circuit breaker analysis: CLOSED to OPEN', NULL, NULL, 'open', '2026-02-14 10:01:00+00', '2026-02-14 10:01:00+00', 1, '{"kind": "breaker_transition", "episode": "breaker/analysis", "severity": "CRITICAL", "title": "Circuit breaker analysis: CLOSED to OPEN", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "model is off Guarded: platinum_incidents.", "source": "alert_assets", "application": null, "table": null, "pipeline": "analysis", "run_id": null, "labels": {"cause": "forced_open", "who": "ana"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history analysis`); when it is gone, `alert-assets breaker reset analysis --why ...`, or wait for the probe.", "links": {}, "count": 1}', NULL, NULL, NULL, NULL, 'P1 episode=breaker/analysis', '2026-02-14 10:01:00+00', 'CRITICAL', 'notified', NULL, NULL, '[]', '[]', false, false, 0, '2026-02-14 10:06:00+00');
INSERT INTO public.episodes VALUES ('ad10339a1c006f09', 'breaker/pipeline', 'breaker_transition', 'CRITICAL', 'Circuit breaker pipeline: CLOSED to OPEN', NULL, NULL, 'open', '2026-02-14 10:01:00+00', '2026-02-14 10:00:00+00', 1, '{"kind": "breaker_transition", "episode": "breaker/pipeline", "severity": "CRITICAL", "title": "Circuit breaker pipeline: CLOSED to OPEN", "at": "2026-02-14T10:00:00+00:00", "since": "2026-02-14T10:00:00+00:00", "status": "firing", "description": "3 runs in a row failed, the last was run r3: ValueError: no Guarded: event, bronze_events, bronze_quarantine, silver_alerts, gold_incidents, bronze_held.", "source": "alert_assets", "application": null, "table": null, "pipeline": "pipeline", "run_id": "r3", "labels": {"cause": "consecutive_failures"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history pipeline`); when it is gone, `alert-assets breaker reset pipeline --why ...`, or wait for the probe.", "links": {}, "count": 1}', NULL, NULL, NULL, NULL, 'P1 episode=breaker/pipeline', '2026-02-14 10:01:00+00', 'CRITICAL', 'notified', NULL, NULL, '[]', '[]', false, false, 0, '2026-02-14 10:06:00+00');
INSERT INTO public.episodes VALUES ('02dd13d31fbfab7a', 'disk', 'incident', 'CRITICAL', 'disk is full', 'payments-api', NULL, 'open', '2026-02-14 10:01:00+00', '2026-02-14 10:01:00+00', 1, '{"kind": "incident", "episode": "disk", "severity": "CRITICAL", "title": "disk is full", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "", "source": "alert_assets", "application": "payments-api", "table": null, "pipeline": null, "run_id": null, "labels": {}, "error": null, "stack_trace": null, "owner": null, "runbook_url": null, "suggested_action": null, "links": {}, "count": 1}', NULL, NULL, NULL, NULL, 'P1 episode=disk', '2026-02-14 10:01:00+00', 'CRITICAL', 'notified', NULL, NULL, '[]', '[]', false, false, 0, '2026-02-14 10:06:00+00');
INSERT INTO public.outbox VALUES (1, '2026-02-14 10:00:00+00', 'breaker_transition', 'breaker_transition/1', 'CRITICAL', 'Circuit breaker pipeline: CLOSED to OPEN', '{"kind": "breaker_transition", "episode": "breaker/pipeline", "severity": "CRITICAL", "title": "Circuit breaker pipeline: CLOSED to OPEN", "at": "2026-02-14T10:00:00+00:00", "since": "2026-02-14T10:00:00+00:00", "status": "firing", "description": "3 runs in a row failed, the last was run r3: ValueError: no Guarded: event, bronze_events, bronze_quarantine, silver_alerts, gold_incidents, bronze_held.", "source": "alert_assets", "application": null, "table": null, "pipeline": "pipeline", "run_id": "r3", "labels": {"cause": "consecutive_failures"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history pipeline`); when it is gone, `alert-assets breaker reset pipeline --why ...`, or wait for the probe.", "links": {}, "count": 1}', 'dispatched');
INSERT INTO public.outbox VALUES (2, '2026-02-14 10:01:00+00', 'breaker_transition', 'breaker_transition/2', 'CRITICAL', 'Circuit breaker analysis: CLOSED to OPEN', '{"kind": "breaker_transition", "episode": "breaker/analysis", "severity": "CRITICAL", "title": "Circuit breaker analysis: CLOSED to OPEN", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "model is off Guarded: platinum_incidents.", "source": "alert_assets", "application": null, "table": null, "pipeline": "analysis", "run_id": null, "labels": {"cause": "forced_open", "who": "ana"}, "error": null, "stack_trace": null, "owner": "team:data-platform", "runbook_url": null, "suggested_action": "Find the cause (`alert-assets breaker history analysis`); when it is gone, `alert-assets breaker reset analysis --why ...`, or wait for the probe.", "links": {}, "count": 1}', 'dispatched');
INSERT INTO public.outbox VALUES (3, '2026-02-14 10:01:00+00', 'incident', 'test/1', 'CRITICAL', 'disk is full', '{"kind": "incident", "episode": "disk", "severity": "CRITICAL", "title": "disk is full", "at": "2026-02-14T10:01:00+00:00", "since": "2026-02-14T10:01:00+00:00", "status": "firing", "description": "", "source": "alert_assets", "application": "payments-api", "table": null, "pipeline": null, "run_id": null, "labels": {}, "error": null, "stack_trace": null, "owner": null, "runbook_url": null, "suggested_action": null, "links": {}, "count": 1}', 'dispatched');
INSERT INTO public.run_outcomes VALUES ('r1', 'pipeline', 'failure', '2026-02-14 10:00:00+00', 0, 'executor', 'ValueError: no', 'bronze_to_gold', NULL, NULL, NULL);
INSERT INTO public.run_outcomes VALUES ('r2', 'pipeline', 'failure', '2026-02-14 10:00:00+00', 0, 'executor', 'ValueError: no', 'bronze_to_gold', NULL, NULL, NULL);
INSERT INTO public.run_outcomes VALUES ('r3', 'pipeline', 'failure', '2026-02-14 10:00:00+00', 0, 'executor', 'ValueError: no', 'bronze_to_gold', NULL, NULL, NULL);
SELECT pg_catalog.setval('public.alert_assets_schema_one_row_seq', 1, false);
SELECT pg_catalog.setval('public.audit_id_seq', 1, true);
SELECT pg_catalog.setval('public.breaker_transitions_id_seq', 2, true);
SELECT pg_catalog.setval('public.decisions_id_seq', 9, true);
SELECT pg_catalog.setval('public.deliveries_id_seq', 9, true);
SELECT pg_catalog.setval('public.outbox_id_seq', 3, true);
SELECT pg_catalog.setval('public.silences_id_seq', 1, false);
ALTER TABLE ONLY public.alert_assets_schema
    ADD CONSTRAINT alert_assets_schema_pkey PRIMARY KEY (one_row);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.breaker_admissions
    ADD CONSTRAINT breaker_admissions_pkey PRIMARY KEY (run_id, breaker);
ALTER TABLE ONLY public.breaker_transitions
    ADD CONSTRAINT breaker_transitions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.channel_states
    ADD CONSTRAINT channel_states_pkey PRIMARY KEY (channel);
ALTER TABLE ONLY public.check_results
    ADD CONSTRAINT check_results_pkey PRIMARY KEY (table_name, check_name);
ALTER TABLE ONLY public.circuit_breakers
    ADD CONSTRAINT circuit_breakers_pkey PRIMARY KEY (breaker);
ALTER TABLE ONLY public.decisions
    ADD CONSTRAINT decisions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_idempotency_key_key UNIQUE (idempotency_key);
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.digests
    ADD CONSTRAINT digests_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.episodes
    ADD CONSTRAINT episodes_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_idempotency_key_key UNIQUE (idempotency_key);
ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.run_outcomes
    ADD CONSTRAINT run_outcomes_pkey PRIMARY KEY (run_id, breaker);
ALTER TABLE ONLY public.silences
    ADD CONSTRAINT silences_pkey PRIMARY KEY (id);
CREATE INDEX breaker_transitions_of ON public.breaker_transitions USING btree (breaker, id);
CREATE INDEX decisions_of_episode ON public.decisions USING btree (episode, id);
CREATE UNIQUE INDEX decisions_once ON public.decisions USING btree (outbox_id, destination);
CREATE INDEX deliveries_by_time ON public.deliveries USING btree (created_at);
CREATE INDEX deliveries_due ON public.deliveries USING btree (status, channel, next_attempt_at);
CREATE UNIQUE INDEX deliveries_in_order ON public.deliveries USING btree (episode, channel, seq);
CREATE INDEX digests_due ON public.digests USING btree (sent_at, due_at);
CREATE INDEX episodes_by_fingerprint ON public.episodes USING btree (fingerprint, opened_at);
CREATE INDEX episodes_by_group ON public.episodes USING btree (told_as, told_at);
CREATE INDEX episodes_by_state ON public.episodes USING btree (state, last_at);
CREATE UNIQUE INDEX episodes_one_open ON public.episodes USING btree (fingerprint) WHERE (state <> 'resolved'::text);
CREATE INDEX episodes_owed ON public.episodes USING btree (owed);
CREATE INDEX outbox_by_status ON public.outbox USING btree (status, id);
CREATE INDEX run_outcomes_at ON public.run_outcomes USING btree (at);
CREATE INDEX run_outcomes_counted ON public.run_outcomes USING btree (breaker, period, at);
CREATE INDEX silences_until ON public.silences USING btree (until);
CREATE TRIGGER audit_rows BEFORE DELETE OR UPDATE ON public.audit FOR EACH ROW EXECUTE FUNCTION public.audit_refuse();
CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON public.audit FOR EACH STATEMENT EXECUTE FUNCTION public.audit_refuse();
CREATE TRIGGER breaker_transitions_rows BEFORE DELETE OR UPDATE ON public.breaker_transitions FOR EACH ROW EXECUTE FUNCTION public.breaker_transitions_refuse();
CREATE TRIGGER breaker_transitions_truncate BEFORE TRUNCATE ON public.breaker_transitions FOR EACH STATEMENT EXECUTE FUNCTION public.breaker_transitions_refuse();
CREATE TRIGGER decisions_rows BEFORE DELETE OR UPDATE ON public.decisions FOR EACH ROW EXECUTE FUNCTION public.decisions_refuse();
CREATE TRIGGER decisions_truncate BEFORE TRUNCATE ON public.decisions FOR EACH STATEMENT EXECUTE FUNCTION public.decisions_refuse();
