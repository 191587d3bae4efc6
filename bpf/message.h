/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * For request.c: reads the requests of one message before anything is done about them, because the
 * message goes to the server as a whole, without what is refused, or not at all.
 */

static inline void note(struct http *http, u64 ledger, u32 kind)
{
    struct reading *found = &http->reading;
    struct entry *entry = &http->entries[ENTRY_MADE(ledger, found->made)];

    entry->kind = kind;
    entry->content = found->flags;
    entry->recorded = 0;
    entry->time = found->place;
    found->made++;
}

/* The request in hand is refused, and is what the message holds up to `end`. */
static inline int note_refusal(struct http *http, u64 ledger, u32 entry, u32 end)
{
    struct reading *found = &http->reading;
    u64 drop = found->drops;

    if (drop >= DROPS)
        return -1;
    found->drop_at[drop] = found->start;
    found->drop_size[drop] = end - found->start;
    found->drops = drop + 1;
    if (!found->start)
        found->first_refused = 1;
    note(http, ledger, entry);
    return 0;
}

/* Reads the whole message into http->reading. -1: it cannot be read. */
static inline int read_message(struct sk_msg_md *msg, struct http *http, struct grammar *grammar,
                               struct rules_large *rules, u32 mask, u64 ledger, u32 size)
{
    struct reading *found = &http->reading;
    struct head *head = &http->head;
    u32 at = http->request.zero;

    for (;;) {
        OR_GOTO(undecided);
        int event = follow(msg, FROM_MSG, http, grammar, rules, mask, &at, size);

        if (event == EVENT_FAULT)
            return -1;
        if (event == EVENT_MORE)
            break;
        if (event == EVENT_STOP) {
            found->closing = 1;
            found->flags = FLAGS_OF(&http->request);
            found->place = PLACE(found->start, NO_RULE);
            return note_refusal(http, ledger, refusal(AGAIN(head->reason), 0), size);
        }
        if (event == EVENT_HEAD) {
            found->refused = AGAIN(head->reason) != ACCEPTED;
            found->flags = FLAGS_OF(&http->request);
            found->place = PLACE(found->start, rule_of(head));
            if (!found->refused) {
                found->entry = entry_of(head);
                found->has_head |= head->is_head;
                if (AGAIN(head->upgrade))
                    break;
            } else {
                found->entry = refusal(AGAIN(head->reason), head->is_head ? ANSWER_TO_HEAD : 0);
                found->keep = 0;
                if (head->keep_alive && !head->upgrade)
                    found->keep = ANSWER_KEEP | (head->http10 ? ANSWER_HTTP10 : 0);
            }
            if (AGAIN(http->phase) != PHASE_BOUNDARY && AGAIN(http->phase) != PHASE_HELD)
                continue;
        }
        if (!found->refused) {
            note(http, ledger, found->entry);
        } else if (!found->keep) {
            found->closing = 1;
            return note_refusal(http, ledger, found->entry, size);
        } else if (note_refusal(http, ledger, found->entry | found->keep, at)) {
            return -1;
        }
        if (found->made + owed(ledger) >= ENTRIES - 8 && !AGAIN(http->answer_lost))
            return -1;
        found->start = at;
        found->refused = 0;
    }
    if (found->start == size)
        return 0;
    if (!found->refused) {
        found->tail = 1;
        return 0;
    }
    /* A client that waits for 100 may send the content after all, or the next request instead;
     * of chunks it is not known how many come. */
    if (found->keep && !head->expects && http->phase == PHASE_LENGTH &&
        http->skip <= LIMIT_REFUSED_BODY) {
        http->swallow = 1;
        return note_refusal(http, ledger, found->entry | found->keep, size);
    }
    found->closing = 1;
    return note_refusal(http, ledger, found->entry, size);
undecided:
    return -1;
}
