-- Mails that the mail server has but did not answer. It may have sent them.
CREATE TABLE unconfirmed_mails (
    order_id   TEXT   NOT NULL,
    recipient  TEXT   NOT NULL,
    -- How many times. Zero if it has answered since that it did not take the mail.
    times      BIGINT NOT NULL,
    updated_at TEXT   NOT NULL,
    PRIMARY KEY (order_id, recipient)
);
