-- What masters have to agree on: after which time this one may be declared dead, by whoever watches it, and through which
-- kind of broker it hears of the others.
ALTER TABLE masters ADD COLUMN expire_after_ms BIGINT;
ALTER TABLE masters ADD COLUMN broker @text;
