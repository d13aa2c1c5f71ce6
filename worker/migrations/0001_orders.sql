-- The order system. One text for PostgreSQL and SQLite: TEXT and BIGINT only, times as RFC 3339.

CREATE TABLE orders (
    order_id    TEXT   NOT NULL PRIMARY KEY,
    -- The workflow that owns the order; no other may touch it.
    workflow_id TEXT   NOT NULL,
    -- Minor units. Zero for an order that was cancelled before it was written down.
    total       BIGINT NOT NULL,
    currency    TEXT   NOT NULL,
    state       TEXT   NOT NULL CHECK (state IN ('created', 'paid', 'cancelled')),
    -- Failure type and message of a cancelled order, else empty.
    reason      TEXT   NOT NULL,
    message     TEXT   NOT NULL,
    created_at  TEXT   NOT NULL,
    updated_at  TEXT   NOT NULL
);

CREATE TABLE stock (
    sku       TEXT   NOT NULL PRIMARY KEY,
    available BIGINT NOT NULL CHECK (available >= 0)
);

-- A row in state 'released' without items stops a reservation that arrives late.
CREATE TABLE reservations (
    order_id   TEXT NOT NULL PRIMARY KEY,
    state      TEXT NOT NULL CHECK (state IN ('reserved', 'released')),
    updated_at TEXT NOT NULL
);

CREATE TABLE reservation_items (
    order_id TEXT   NOT NULL REFERENCES reservations (order_id),
    sku      TEXT   NOT NULL REFERENCES stock (sku),
    quantity BIGINT NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (order_id, sku)
);

CREATE TABLE payments (
    order_id        TEXT   NOT NULL PRIMARY KEY,
    idempotency_key TEXT   NOT NULL UNIQUE,
    state           TEXT   NOT NULL CHECK (state IN ('charged', 'declined', 'voided')),
    charge_id       TEXT   NOT NULL,
    amount          BIGINT NOT NULL,
    currency        TEXT   NOT NULL,
    updated_at      TEXT   NOT NULL
);

-- One row per mail that needs no further work.
CREATE TABLE mails (
    order_id   TEXT NOT NULL,
    recipient  TEXT NOT NULL,
    message_id TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('sent', 'refused')),
    -- The mail server's words for a refusal, else empty.
    message    TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (order_id, recipient)
);

INSERT INTO stock (sku, available) VALUES
    ('standard', 1000000000),
    ('book', 1000000000),
    ('lamp', 1000000000),
    ('chair', 1000000000),
    ('table', 1000000000),
    ('rare-vase', 5),
    ('sold-out', 0);
