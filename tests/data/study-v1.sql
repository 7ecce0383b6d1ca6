PRAGMA application_id = 1886349683;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE asked (                -- under which settings a use case was asked
        use_case TEXT NOT NULL,
        settings INTEGER NOT NULL REFERENCES settings (id),
        PRIMARY KEY (use_case, settings)
    ) WITHOUT ROWID
    ;
INSERT INTO "asked" VALUES('prompt',1);
INSERT INTO "asked" VALUES('prompt',2);
CREATE TABLE completions (
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,       -- SHA-256 of all that decides the text
        input INTEGER NOT NULL REFERENCES inputs (id),
        settings INTEGER NOT NULL REFERENCES settings (id),
        limits INTEGER NOT NULL REFERENCES limits (id),
        seed NOT NULL,                  -- an integer; as text where it needs more than 64 bits
        draw INTEGER NOT NULL,
        provenance INTEGER NOT NULL REFERENCES provenance (id),
        drawn_at REAL NOT NULL,         -- seconds since 1970, UTC
        finish_reason TEXT NOT NULL,
        text TEXT NOT NULL,
        thinking TEXT NOT NULL,
        token_ids BLOB NOT NULL,        -- int32, little-endian
        logprobs BLOB NOT NULL          -- float64, little-endian
    );
INSERT INTO "completions" VALUES(1,X'21D07A41C58F5270518593DF48E83AA6F665A8BE6D53DDE32462DAEB925186FF',1,1,1,0,0,1,1750000000.0,'eos','draw 0','',X'050000000600000000000000',X'9A9999999999B9BF555555555555D5BF00000000000004C0');
INSERT INTO "completions" VALUES(2,X'596E437D3CDE9DB3DA801A92BC203E47FC10B8D7E1D9B5F900262D10037A633E',1,1,1,0,1,1,1750000000.0,'eos','draw 1','',X'050000000600000000000000',X'9A9999999999B9BF555555555555D5BF00000000000004C0');
INSERT INTO "completions" VALUES(3,X'09B713B72FEF49A210A75BB3A1000C0A655D430B48E0DA787269B4B85D8E8B62',1,2,1,0,0,1,1750000000.0,'eos','draw 0','',X'050000000600000000000000',X'9A9999999999B9BF555555555555D5BF00000000000004C0');
INSERT INTO "completions" VALUES(4,X'5CCA0AB62601BEB2BF43C649852FDC29EB5AAE588907462695835F372AC3284C',1,2,1,0,1,1,1750000000.0,'eos','draw 1','',X'050000000600000000000000',X'9A9999999999B9BF555555555555D5BF00000000000004C0');
CREATE TABLE engine (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        deciding TEXT NOT NULL          -- JSON: what decides a text besides the request
    );
INSERT INTO "engine" VALUES(1,'{"dtype":"float32","path":"stock","template":"cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc","tokenizer":"tttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt","weights":"wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww"}');
CREATE TABLE inputs (
        id INTEGER PRIMARY KEY,
        token_ids BLOB NOT NULL UNIQUE  -- the prompt as fed to the model, int32, little-endian
    );
INSERT INTO "inputs" VALUES(1,X'6800000069000000');
CREATE TABLE limits (
        id INTEGER PRIMARY KEY,
        max_tokens INTEGER NOT NULL,
        min_tokens INTEGER NOT NULL,
        stop TEXT NOT NULL,             -- JSON: a list of strings
        UNIQUE (max_tokens, min_tokens, stop)
    );
INSERT INTO "limits" VALUES(1,4,0,'[]');
CREATE TABLE prompts (
        id INTEGER PRIMARY KEY,
        use_case TEXT NOT NULL,
        list INTEGER NOT NULL,          -- the use case's newest list counts
        input INTEGER NOT NULL REFERENCES inputs (id),
        limits INTEGER NOT NULL REFERENCES limits (id),
        record TEXT NOT NULL            -- JSON: the prompt as the user gave it, answers included
    );
INSERT INTO "prompts" VALUES(1,'prompt',0,1,1,'{"answers":[],"messages":[],"reference":null,"text":"hi","use_case":"prompt"}');
CREATE TABLE provenance (
        id INTEGER PRIMARY KEY,
        record TEXT NOT NULL,           -- JSON: model as the user wrote it, device, threads, versions
        seen_at REAL NOT NULL           -- seconds since 1970, UTC
    );
INSERT INTO "provenance" VALUES(1,'{"device":"cpu","model":"toy","torch":"2.13"}',1750000000.0);
CREATE TABLE settings (
        id INTEGER PRIMARY KEY,
        record TEXT NOT NULL UNIQUE     -- JSON: the parameters that are on, and the dialect
    );
INSERT INTO "settings" VALUES(1,'{"dialect":"transformers","temperature":0.3}');
INSERT INTO "settings" VALUES(2,'{"dialect":"transformers","temperature":0.9}');
CREATE TABLE sweeps (
        id INTEGER PRIMARY KEY,
        ended_at REAL NOT NULL,
        summary TEXT NOT NULL           -- JSON: drawn, reused, rows, tokens, seconds
    );
CREATE TABLE trial_names (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,             -- greedy, engine-default, vendor
        settings INTEGER NOT NULL REFERENCES settings (id)
    );
INSERT INTO "trial_names" VALUES(1,'vendor',1);
CREATE INDEX prompts_by_use_case ON prompts (use_case, list, input);
CREATE VIEW current_prompts AS      -- what a use case asks now, in order of `place`
    SELECT p.use_case, p.input, p.limits, p.record, m.place
    FROM (
        SELECT MIN(q.id) AS place, MAX(q.id) AS newest FROM prompts q
        WHERE q.list = (SELECT MAX(r.list) FROM prompts r WHERE r.use_case = q.use_case)
        GROUP BY q.use_case, q.input
    ) m JOIN prompts p ON p.id = m.newest;
CREATE INDEX completions_by_trial ON completions (input, settings, limits, seed, draw);
COMMIT;
