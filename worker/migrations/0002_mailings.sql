-- Which attempt sends the mails of an order: the one that Temporal started last. An older one that
-- still runs, because it is cut off from Temporal, finds another time here and stops.
CREATE TABLE mailings (
    order_id   TEXT   NOT NULL PRIMARY KEY,
    -- When Temporal started the attempt, in nanoseconds since 1970. Attempts have numbers, but they
    -- begin again when a workflow or an activity is reset.
    started_at BIGINT NOT NULL
);
