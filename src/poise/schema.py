"""The tables of a study's file, with what each column holds."""

from __future__ import annotations

APPLICATION_ID = 0x706F6973  # "pois": tells a study from any other SQLite file
VERSION = 3

# Rows are only ever added. Where a thing may change (answers, limits, a trial's name), the newest
# row counts. The last columns of a completion are its bulky ones: SQLite reads no further than asked.
STATEMENTS = (
    """
    CREATE TABLE engine (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        deciding TEXT NOT NULL          -- JSON: what decides a text besides the request
    )
    """,
    """
    CREATE TABLE provenance (
        id INTEGER PRIMARY KEY,
        record TEXT NOT NULL,           -- JSON: model as the user wrote it, device, threads, versions
        seen_at REAL NOT NULL           -- seconds since 1970, UTC
    )
    """,
    """
    CREATE TABLE inputs (
        id INTEGER PRIMARY KEY,
        token_ids BLOB NOT NULL UNIQUE  -- the prompt as fed to the model, int32, little-endian
    )
    """,
    """
    CREATE TABLE settings (
        id INTEGER PRIMARY KEY,
        record TEXT NOT NULL UNIQUE     -- JSON: the parameters that are on, and the dialect
    )
    """,
    """
    CREATE TABLE limits (
        id INTEGER PRIMARY KEY,
        max_tokens INTEGER NOT NULL,
        min_tokens INTEGER NOT NULL,
        stop TEXT NOT NULL,             -- JSON: a list of strings
        UNIQUE (max_tokens, min_tokens, stop)
    )
    """,
    """
    CREATE TABLE prompts (
        id INTEGER PRIMARY KEY,
        use_case TEXT NOT NULL,
        list INTEGER NOT NULL,          -- the use case's newest list counts
        input INTEGER NOT NULL REFERENCES inputs (id),
        limits INTEGER NOT NULL REFERENCES limits (id),
        record TEXT NOT NULL            -- JSON: the prompt as the user gave it, answers included
    )
    """,
    "CREATE INDEX prompts_by_use_case ON prompts (use_case, list, input)",
    """
    CREATE VIEW current_prompts AS      -- what a use case asks now, in order of `place`
    SELECT p.use_case, p.input, p.limits, p.record, m.place
    FROM (
        SELECT MIN(q.id) AS place, MAX(q.id) AS newest FROM prompts q
        WHERE q.list = (SELECT MAX(r.list) FROM prompts r WHERE r.use_case = q.use_case)
        GROUP BY q.use_case, q.input
    ) m JOIN prompts p ON p.id = m.newest
    """,
    """
    CREATE TABLE asked (                -- under which settings a use case was asked
        use_case TEXT NOT NULL,
        settings INTEGER NOT NULL REFERENCES settings (id),
        PRIMARY KEY (use_case, settings)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE trial_names (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,             -- greedy, engine-default, vendor
        settings INTEGER NOT NULL REFERENCES settings (id)
    )
    """,
    """
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
    )
    """,
    "CREATE INDEX completions_by_trial ON completions (input, settings, limits, seed, draw)",
    """
    CREATE TABLE sweeps (
        id INTEGER PRIMARY KEY,
        ended_at REAL NOT NULL,
        summary TEXT NOT NULL           -- JSON: drawn, reused, rows, tokens, seconds
    )
    """,
)

# What version 2 added: an older study gets these when it is opened for writing.
DIALS = (
    """
    CREATE TABLE dials (
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,       -- SHA-256 of all that decides its texts, its range apart
        prompt_ids BLOB NOT NULL,       -- as fed to the model, int32, little-endian
        settings TEXT NOT NULL,         -- JSON: the parameters that stay
        parameter TEXT NOT NULL,        -- the one that moves
        seed NOT NULL,                  -- an integer; as text where it needs more than 64 bits
        draw INTEGER NOT NULL,
        max_tokens INTEGER NOT NULL,
        min_tokens INTEGER NOT NULL,
        stop TEXT NOT NULL              -- JSON: a list of strings
    )
    """,
    """
    CREATE TABLE asked_dials (          -- for whom and over what; a use case's newest one counts
        id INTEGER PRIMARY KEY,
        dial INTEGER NOT NULL REFERENCES dials (id),
        use_case TEXT NOT NULL,
        prompt TEXT NOT NULL,           -- JSON: the prompt as the user gave it, answers included
        low REAL NOT NULL,
        high REAL NOT NULL,
        asked_at REAL NOT NULL          -- seconds since 1970, UTC
    )
    """,
    "CREATE INDEX asked_dials_by_dial ON asked_dials (dial, use_case)",
    """
    CREATE TABLE pieces (               -- of one dial they never overlap
        id INTEGER PRIMARY KEY,
        dial INTEGER NOT NULL REFERENCES dials (id),
        low REAL NOT NULL,
        low_after INTEGER NOT NULL,     -- 0: low belongs to the piece; 1: the piece begins after it
        high REAL NOT NULL,
        high_after INTEGER NOT NULL,    -- 1: high belongs to the piece; 0: the piece ends before it
        provenance INTEGER NOT NULL REFERENCES provenance (id),
        drawn_at REAL NOT NULL,         -- seconds since 1970, UTC
        finish_reason TEXT NOT NULL,
        text TEXT NOT NULL,
        thinking TEXT NOT NULL,
        token_ids BLOB NOT NULL,        -- int32, little-endian
        logprobs BLOB NOT NULL,         -- float64, little-endian
        doubtful BLOB NOT NULL          -- positions that another machine may decide otherwise, int32
    )
    """,
    "CREATE INDEX pieces_by_dial ON pieces (dial, low, low_after)",
    """
    CREATE TABLE forks (                -- the next word's probabilities where the texts of a prompt part
        id INTEGER PRIMARY KEY,
        family BLOB NOT NULL,           -- as a dial's key, for all draws
        prefix BLOB NOT NULL,           -- token ids that the texts have in common
        low REAL NOT NULL,
        low_after INTEGER NOT NULL,
        high REAL NOT NULL,
        high_after INTEGER NOT NULL,
        record TEXT NOT NULL,           -- JSON
        UNIQUE (family, prefix, low, low_after, high, high_after)
    )
    """,
)

# What version 3 added.
NOTES = (
    """
    CREATE TABLE notes (                -- what verdicts need; of each kind and key the newest counts
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,             -- goal, rounds, judgement, reference
        key TEXT NOT NULL,              -- whom it belongs to, for example a use case
        record TEXT NOT NULL            -- JSON
    )
    """,
    "CREATE INDEX notes_by_key ON notes (kind, key)",
)
