/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * What a connection owes its client. The request's side makes entries, the response's side settles
 * them in order. Both counts are in one word, changed by compare-and-swap: so a refusal is either
 * seen by the response's side, which sends it behind the answer it has just completed, or finds
 * nothing owed and is sent by the request's side; never both, never neither.
 */

static inline u32 owed(u64 ledger)
{
    return (u32)(ledger >> 32) - (u32)ledger;
}

static inline u64 ledger_now(struct http *http)
{
    return *(volatile u64 *)&http->ledger;
}

/* Whether `from` was still the ledger and now `to` is. */
static inline int ledger_swap(struct http *http, u64 from, u64 to)
{
    return __sync_val_compare_and_swap(&http->ledger, from, to) == from;
}

static inline u64 ledger_settled(u64 ledger)
{
    return (ledger & ~0xffffffffull) | (u32)(ledger + 1);
}

/* The place in http->entries of the entry made `ahead` from now, or of the one settled next. */
#define ENTRY_MADE(ledger, ahead) ((u32)((ledger) >> 32) + (ahead) & (ENTRIES - 1))
#define ENTRY_NEXT(ledger) ((u32)(ledger) & (ENTRIES - 1))

/* Where the next entry is made. Nobody reads it before it is known. */
static inline struct entry *next_entry(struct http *http)
{
    return &http->entries[ENTRY_MADE(ledger_now(http), 0)];
}

/* Makes the next entry known, of which all but the kind has been written. */
static inline int ledger_append(struct http *http, u16 kind)
{
    for (;;) {
        OR_GOTO(out);
        u64 ledger = ledger_now(http);

        if (owed(ledger) >= ENTRIES - 8)
            return -1;
        http->entries[ENTRY_MADE(ledger, 0)].kind = kind;
        if (ledger_swap(http, ledger, ledger + (1ull << 32)))
            return 0;
    }
out:
    return -1;
}

/* The next entry is counted, and nothing is owed for it: whose the answers are is not known. */
static inline int ledger_pass(struct http *http)
{
    for (;;) {
        OR_GOTO(out);
        u64 ledger = ledger_now(http);

        if (ledger_swap(http, ledger, ledger_settled(ledger + (1ull << 32))))
            return 0;
    }
out:
    return -1;
}

/* As ledger_append, for one of our own answers, which has been counted already. */
static inline int ledger_append_ours(struct http *http, u16 kind)
{
    next_entry(http)->recorded = 0;
    return ledger_append(http, kind);
}

/* Whether an answer of ours is on its way from arrival.c to the server's own program. */
static inline int is_bouncing(struct http *http)
{
    u64 ledger = ledger_now(http);
    u32 next = http->entries[ENTRY_NEXT(ledger)].kind;

    return owed(ledger) && (next == ENTRY_BOUNCE || next == ENTRY_BOUNCE_TO_HEAD);
}
