-- +goose Up
SET LOCAL lock_timeout = '5s';

-- What listed_info jobs fetch: Japan's listed companies, one row a company and day.
CREATE TABLE riverbeat.listed_info (
    date                 date        NOT NULL,
    code                 text        NOT NULL,
    company_name         text        NOT NULL DEFAULT '',
    company_name_english text        NOT NULL DEFAULT '',
    sector17_code        text        NOT NULL DEFAULT '',
    sector17_name        text        NOT NULL DEFAULT '',
    sector33_code        text        NOT NULL DEFAULT '',
    sector33_name        text        NOT NULL DEFAULT '',
    scale_category       text        NOT NULL DEFAULT '',
    market_code          text        NOT NULL DEFAULT '',
    market_name          text        NOT NULL DEFAULT '',
    updated_at           timestamptz NOT NULL DEFAULT now(), -- when a value last differed
    CONSTRAINT listed_info_pkey PRIMARY KEY (date, code)
);

CREATE INDEX listed_info_code ON riverbeat.listed_info (code);

-- +goose Down
SET LOCAL lock_timeout = '5s';

DROP TABLE riverbeat.listed_info;
