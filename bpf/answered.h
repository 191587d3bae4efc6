/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * What the server has answered, for the programs of both directions. Where the send buffer takes
 * part of a message only, the kernel does not show what follows until one is taken whole: such
 * bytes are known by the socket's sequence numbers alone.
 */

/* The answer under way is complete: what is next in the ledger, if it is for us to say; else 0. */
static inline u32 settle(struct http *http)
{
    for (;;) {
        OR_GOTO(lost);
        u64 ledger = ledger_now(http), settled = ledger_settled(ledger);
        u32 next = http->entries[ENTRY_NEXT(settled)].kind;

        if (owed(settled) && next >= ENTRY_REFUSAL) {
            /* The refusal stays the next entry until it is in the message. */
            if (ledger_swap(http, ledger, settled))
                return next;
        } else if (ledger_swap(http, ledger, settled)) {
            return 0;
        }
    }
lost:
    http->answer_lost = 1;
    return 0;
}

/* Bytes that the kernel took without showing them. */
static inline void unseen(struct http *http, u64 key, u32 size)
{
    u64 gone = size;

    if (http->answer_phase == PHASE_PASSING || http->answer_lost)
        return;
    if (size >> 31 || http->answer_phase == PHASE_BOUNDARY || gone > http->answer_skip) {
        http->answer_lost = 1;
        return;
    }
    http->answer_skip -= gone;
    if (http->answer_skip || http->answer_phase != PHASE_LENGTH)
        return;
    http->answer_phase = PHASE_BOUNDARY;
    if (settle(http)) { /* its turn is over before anybody could take it */
        doom(http, key, DOOMED_UNANSWERED);
        http->answer_lost = 1;
    }
}

/* Whether the server has not got rid of all that its program was shown. */
static inline int is_sending(struct http *http)
{
    return http->answer_seq != peek(http->sock, OFF_WRITE_SEQ);
}

/* Takes note of what was sent unseen. Not while the program at the server's socket may run. */
static inline void catch_up(struct http *http, u64 key)
{
    u32 seq = peek(http->sock, OFF_WRITE_SEQ), gone = seq - http->answer_seq;

    if (!gone || gone >> 31)
        return;
    http->answer_seq = seq;
    unseen(http, key, gone);
}
